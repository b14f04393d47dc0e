"""Codes of a layer as three plain arrays on disk: compressed rows, written without holding them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neurosae.export.code_tables import parts_of, row_pointers
from neurosae.recording.sparse import SparseRecording

ROW_ARRAYS = ("indptr", "indices", "values")


def write_rows(codes: SparseRecording, layer: int, paths: Mapping[str, Path]) -> None:
    """Write the codes of a layer as the ``.npy`` files ``indptr``, ``indices`` and ``values``.

    ``indices[indptr[i]:indptr[i + 1]]`` (int32) are the places of the features that are active at the i-th
    valid token, ``values`` (float32) their codes.
    """
    pointers = row_pointers(codes, layer)
    np.save(paths["indptr"], pointers)
    n_entries = int(pointers[-1])
    indices = np.lib.format.open_memmap(paths["indices"], "w+", np.int32, (n_entries,))
    values = np.lib.format.open_memmap(paths["values"], "w+", np.float32, (n_entries,))
    first = 0
    for part in parts_of(codes, layer)():
        indices[first : first + part.nnz] = part.indices
        values[first : first + part.nnz] = part.data
        first += part.nnz
    indices.flush()
    values.flush()
