"""How the toy subject carries out edits, and what it keeps of a run."""

from collections.abc import Mapping, Sequence

import numpy as np

from neurosae.errors import SubjectError
from neurosae.subject.interface import Change, Splice


class Tap:
    """What one run edits and keeps on its way through the sites; it lives as long as the run."""

    def __init__(
        self,
        sites: Mapping[str, tuple[int, ...]],
        edits: Sequence[Change],
        is_real: np.ndarray,
        is_open: np.ndarray,
    ) -> None:
        self._wanted = {(site, layer) for site, layers in sites.items() for layer in layers}
        self._edits, self._is_real, self._is_open = edits, is_real, is_open
        self.seen: dict[tuple[str, int], np.ndarray] = {}
        self.shift, self.edited = [0.0] * len(edits), [0] * len(edits)

    def __call__(self, site: str, layer: int, values: np.ndarray) -> np.ndarray:
        """Values (text, token, feature) at one site after the edits there; those asked for are kept."""
        for number, edit in enumerate(self._edits):
            if (edit.site, edit.layer) == (site, layer):
                values = self._edit(number, edit, values)
        if (site, layer) in self._wanted:
            self.seen[site, layer] = values[self._is_real]
        return values

    def _edit(self, number: int, edit: Change, values: np.ndarray) -> np.ndarray:
        is_everywhere = isinstance(edit, Splice) and edit.everywhere
        at = (self._is_real if is_everywhere else self._is_open) & (
            np.linalg.norm(values, axis=-1) <= edit.max_norm
        )
        rows = values[at]
        after = edited_rows(rows, edit)
        self.shift[number] += float(np.linalg.norm(after.astype(np.float64) - rows, axis=1).sum())
        self.edited[number] += len(rows)
        changed = values.copy()
        changed[at] = after
        return changed


def spliced_rows(rows: np.ndarray, splice: Splice) -> np.ndarray:
    """Rows (n, feature) float32 that a splice puts in the place of ``rows``, which it does not change.

    Raises
    ------
    SubjectError
        If the function gives back another shape, or values that are not finite.

    Examples
    --------
    >>> spliced_rows(np.ones((1, 3), dtype=np.float32), Splice("resid_post", 0, lambda rows: 2 * rows))
    array([[2., 2., 2.]], dtype=float32)
    """
    after = np.asarray(splice.function(rows.copy()), dtype=np.float32)
    if after.shape != rows.shape or not np.isfinite(after).all():
        raise SubjectError(
            f"a splice at {splice.site} of layer {splice.layer} made {after.shape} of rows {rows.shape}, or "
            "values that are not finite; its function must give finite rows of the same shape."
        )
    return after


def edited_rows(rows: np.ndarray, edit: Change) -> np.ndarray:
    """Rows (n, feature) after one edit, float32; gain 1 and offset 0 give them back bit for bit.

    Examples
    --------
    >>> from neurosae.subject.interface import Edit
    >>> edit = Edit("resid_post", 0, np.zeros(1), np.full(1, 5.0), features=np.array([1]))
    >>> edited_rows(np.ones((1, 3), dtype=np.float32), edit)
    array([[1., 5., 1.]], dtype=float32)
    """
    if isinstance(edit, Splice):
        return spliced_rows(rows, edit)
    gain, offset = edit.gain.astype(np.float32), edit.offset.astype(np.float32)
    if edit.encoder is None or edit.decoder is None:
        after = rows.copy()
        after[:, edit.features] = gain * rows[:, edit.features] + offset
        return after
    codes = rows @ edit.encoder.astype(np.float32)
    change = gain * codes + offset - codes
    return rows + change @ edit.decoder.astype(np.float32)
