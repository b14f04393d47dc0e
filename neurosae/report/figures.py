"""Figures of a report: Axes in, a PNG inside the page out."""

import base64
import io
from dataclasses import dataclass
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """One figure of a report, embedded as a data URI, with the caption a reader needs."""

    uri: str
    caption: str
    wide: bool = False


def picture(ax: Axes, caption: str, *, wide: bool = False, dpi: int = 130) -> Picture:
    """Render the figure that holds ``ax``; nothing is written to disk."""
    buffer = io.BytesIO()
    figure = cast(Figure, ax.figure)
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(f"data:image/png;base64,{encoded}", caption, wide)
