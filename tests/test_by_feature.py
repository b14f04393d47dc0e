"""Codes come back by feature as they were by row, read once however little is held at a time."""

import numpy as np
import pytest
import scipy.sparse as sp

from neurosae.errors import CorruptFileError
from neurosae.recording import by_feature as module
from neurosae.recording.by_feature import by_feature


def parts(seed=0, sizes=(5, 1, 0, 9)):
    rng = np.random.default_rng(seed)
    return [sp.csr_array(rng.poisson(0.5, size=(n, 6)).astype(np.float32)) for n in sizes]


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_blocks_of_features_hold_every_code_and_the_parts_are_read_once(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(module, "ENTRIES_AT_ONCE", at_once)
    whole, asked = np.concatenate([part.toarray() for part in parts()]), []

    def given():
        asked.append(1)
        return iter(parts())

    blocks = list(by_feature(given, (whole != 0).sum(axis=0), tmp_path))
    np.testing.assert_array_equal(np.concatenate([block.toarray() for block in blocks], axis=1), whole)
    assert all((np.diff(block.indices[a:b]) > 0).all() for block in blocks for a, b in runs(block))
    assert asked == [1]
    assert not list(tmp_path.iterdir())


def runs(block):
    return zip(block.indptr[:-1], block.indptr[1:], strict=True)


def test_counts_that_are_not_those_of_the_codes_are_refused(tmp_path):
    with pytest.raises(CorruptFileError, match="changed while they were read"):
        list(by_feature(parts, np.full(6, 2), tmp_path))
