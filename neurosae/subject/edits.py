"""What an edit does to the tensor at its site, and how large the change was."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from neurosae.errors import SubjectError
from neurosae.subject.interface import Change, Edit, Splice
from neurosae.subject.padding import Batch
from neurosae.subject.toy_edits import spliced_rows


@dataclass
class Editor:
    """One edit during one run; it keeps count of what it changed.

    ``is_open`` (text, position) marks the tokens it may change: real and, unless it is a splice everywhere,
    not special.
    """

    edit: Change
    is_open: Tensor
    shift: float = 0.0
    edited: int = 0
    _base: list[Tensor] = field(default_factory=list)

    def remember(self, base: Tensor) -> None:
        """Keep what `change_sum` adds its tensor to."""
        self._base = [base]

    def change_sum(self, part: Tensor) -> Tensor:
        """``part`` moved so that base + part is what the edit makes of it; base is what was remembered."""
        whole = self._base.pop() + part
        return part + (self.change(whole) - whole)

    def change(self, values: Tensor) -> Tensor:
        """The tensor (text, position, feature) after the edit; tokens that pass through keep their bits."""
        is_open = self.is_open
        if np.isfinite(self.edit.max_norm):
            is_open = is_open & (values.float().norm(dim=-1) <= self.edit.max_norm)
        before = values[is_open]
        after = edited_rows(before, self.edit)
        self.shift += float((after.double() - before.double()).norm(dim=-1).sum())
        self.edited += len(before)
        changed = values.clone()
        changed[is_open] = after
        return changed


def editors(edits: Sequence[Change], batch: Batch) -> list[Editor]:
    """What carries out each edit on a batch."""
    is_real = batch.attention_mask.bool()
    return [
        Editor(edit, is_real if isinstance(edit, Splice) and edit.everywhere else batch.is_open)
        for edit in edits
    ]


def edited_rows(rows: Tensor, edit: Change) -> Tensor:
    """Rows (row, feature) after ``edit``, computed in float32; gain 1 and offset 0 leave every bit."""
    if isinstance(edit, Splice):
        return _like(spliced_rows(rows.float().cpu().numpy(), edit), rows).to(rows.dtype)
    gain, offset = _like(edit.gain, rows), _like(edit.offset, rows)
    wide = rows.float()
    if edit.encoder is not None and edit.decoder is not None:
        codes = wide @ _like(edit.encoder, rows)
        return (wide + (gain * codes + offset - codes) @ _like(edit.decoder, rows)).to(rows.dtype)
    features = torch.as_tensor(np.asarray(edit.features), device=rows.device)
    after = wide.clone()
    after[:, features] = gain * wide[:, features] + offset
    return after.to(rows.dtype)


def check_edit(edit: Change, width: int) -> None:
    """Refuse an edit that does not fit a site with ``width`` features.

    Raises
    ------
    SubjectError
        If the edit names both features and a basis or neither, a feature out of range or twice, or arrays of
        other shapes than the basis.
    """
    if isinstance(edit, Splice):
        return
    given = [part is not None for part in (edit.features, edit.encoder, edit.decoder)]
    if given not in ([True, False, False], [False, True, True]):
        raise SubjectError(f"an edit at {edit.site!r} needs either features, or an encoder and a decoder.")
    size = _check_features(edit, width) if edit.features is not None else _check_basis(edit, width)
    for name, values in (("gain", edit.gain), ("offset", edit.offset)):
        if np.shape(values) not in ((), (1,), (size,)):
            raise SubjectError(
                f"{name} of an edit at {edit.site!r} has shape {np.shape(values)}; needed: ({size},)."
            )


def _check_basis(edit: Edit, width: int) -> int:
    encoder, decoder = np.asarray(edit.encoder).shape, np.asarray(edit.decoder).shape
    if len(encoder) != 2 or encoder[0] != width or decoder != encoder[::-1]:
        raise SubjectError(
            f"an edit at {edit.site!r} has encoder {encoder} and decoder {decoder}; needed: ({width}, k) and "
            f"(k, {width})."
        )
    return int(encoder[1])


def _check_features(edit: Edit, width: int) -> int:
    features = np.asarray(edit.features)
    is_index = features.ndim == 1 and np.issubdtype(features.dtype, np.integer)
    if not is_index or len(np.unique(features)) < len(features):
        raise SubjectError(f"features of an edit at {edit.site!r} must be a list of different whole numbers.")
    if len(features) and not 0 <= features.min() <= features.max() < width:
        worst = features.max() if features.min() >= 0 else features.min()
        raise SubjectError(
            f"an edit at {edit.site!r} names feature {worst}; the site has {width}, numbered from 0."
        )
    return len(features)


def _like(values: np.ndarray, rows: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values, dtype=np.float32), device=rows.device)
