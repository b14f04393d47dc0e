"""The same features in two dictionaries, planted features found, and dictionaries in one table."""

import numpy as np
import pytest

from neurosae.analysis.dictionary_comparison import compare_dictionaries
from neurosae.analysis.matched_dictionaries import dictionary_agreement, planted_recovery
from neurosae.arrays.direction_match import nearest_cosines
from neurosae.dictionary.pca import PcaDictionary, pca_dictionary
from neurosae.dictionary.random_weights import RandomDictionary
from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DesignError, DictionaryError
from neurosae.recording.netcdf import load_netcdf, save_netcdf
from neurosae.subject.toy import ToySubject

TEXTS = ["the keys to the cabinet are here", "the key is here", "paris is in france"]
OTHERS = ["the dogs see a cat", "the cat sees the dogs", "london is in england", "a key and the keys"]


def directions(n, d=64, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def turned(rows, cosine, seed=1):
    """Rows at a given cosine from unit rows."""
    other = directions(len(rows), rows.shape[1], seed)
    other -= (other * rows).sum(axis=1, keepdims=True) * rows
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return cosine * rows + np.sqrt(1 - cosine**2) * other


class Named(RandomDictionary):
    """A random dictionary under a name and with a decoder of its own."""

    def __init__(self, name, decoder):
        super().__init__(len(decoder), decoder.shape[1], k=1)
        self.name, self.decoder = name, np.asarray(decoder, dtype=np.float32)


def test_nearest_cosines_are_the_largest_of_the_whole_matrix(monkeypatch):
    monkeypatch.setattr("neurosae.arrays.direction_match._CELLS", 70)
    first, second = directions(20), directions(30, seed=1)
    np.testing.assert_allclose(nearest_cosines(first * 3, second), (first @ second.T).max(axis=1), rtol=1e-5)
    own = first @ first.T - 2 * np.eye(20)
    np.testing.assert_allclose(nearest_cosines(first), own.max(axis=1), rtol=1e-4)


def test_a_direction_of_zeros_has_no_cosine():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(nearest_cosines(rows), [np.nan, np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    assert np.isnan(nearest_cosines(np.eye(1)))


def test_planted_directions_are_recovered_with_their_share_and_cosine():
    planted = directions(20)
    found = np.concatenate([turned(planted[:12], 0.95), directions(36, seed=2)])
    recovery = planted_recovery(planted, found)
    assert float(recovery["recall"]) == 12 / 20
    assert float(recovery["precision"]) == 12 / 48
    np.testing.assert_allclose(recovery["cosine"][:12], 0.95, rtol=1e-5)
    np.testing.assert_allclose(recovery["mmcs"], recovery["cosine"].mean(), rtol=1e-6)
    assert float(planted_recovery(planted, found, threshold=0.96)["recall"]) == 0


def test_recovery_depends_neither_on_order_nor_on_length():
    planted, found = directions(10), turned(directions(10), 0.93)
    order = np.random.default_rng(0).permutation(10)
    one, other = planted_recovery(planted, found), planted_recovery(planted, 4 * found[order])
    for name in ("mmcs", "recall", "precision", "cosine"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


def test_random_directions_recover_nothing():
    recovery = planted_recovery(directions(50), directions(100, seed=3))
    assert float(recovery["recall"]) == float(recovery["precision"]) == 0


@pytest.mark.parametrize(
    ("planted", "found", "threshold", "words"),
    [
        (np.eye(2), np.eye(3), 0.9, "width 2 and 3"),
        (np.eye(2), np.zeros((0, 2)), 0.9, "at least one row of each"),
        (np.eye(2), np.eye(2), 1.5, "threshold is 1.5"),
    ],
)
def test_what_cannot_be_recovered_is_refused(planted, found, threshold, words):
    with pytest.raises(DesignError, match=words):
        planted_recovery(planted, found, threshold=threshold)


def test_seeds_agree_by_the_share_of_features_they_have_in_common(tmp_path):
    base = directions(40)
    half = np.concatenate([turned(base[:10], 0.95), turned(base[10:20], 0.8), directions(20, seed=5)])
    found = dictionary_agreement([Named("a", base), Named("b", half)])
    assert found["matched"].sel(dictionary="a", other="b").values.tolist() == [0.5, 0.25]
    assert found["matched"].sel(dictionary="b", other="a").values.tolist() == [0.5, 0.25]
    assert np.isnan(found["mmcs"].sel(dictionary="a", other="a"))
    assert (
        found["mmcs"].sel(dictionary="a", other="b") > found["chance_mmcs"].sel(dictionary="a", other="b")
    ).all()
    save_netcdf(found, tmp_path / "found.nc")
    assert load_netcdf(tmp_path / "found.nc").identical(found)


def test_unrelated_dictionaries_agree_as_much_as_chance():
    found = dictionary_agreement([Named("a", directions(200)), Named("b", directions(200, seed=9))])
    pair = {"dictionary": "a", "other": "b"}
    np.testing.assert_allclose(found["mmcs"].sel(pair), found["chance_mmcs"].sel(pair), atol=0.02)
    np.testing.assert_array_equal(found["matched"].sel(pair), found["chance_matched"].sel(pair))


def test_features_that_are_never_active_can_be_left_out():
    base = directions(10)
    second = np.concatenate([base[:5], directions(5, seed=4)])
    alive = {"a": np.arange(10) < 5, "b": np.ones(10, dtype=bool)}
    found = dictionary_agreement([Named("a", base), Named("b", second)], alive=alive)
    assert found["n_features"].values.tolist() == [5, 10]
    assert found["matched"].sel(dictionary="a", other="b").values.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("dictionaries", "words"),
    [
        ([ToyDictionary(4, 8)], "two or more"),
        ([ToyDictionary(4, 8), ToyDictionary(4, 8)], "each with its own name"),
        ([ToyDictionary(4, 8), ToyDictionary(4, 8, layer=1)], "one subject, site and layer"),
    ],
)
def test_dictionaries_that_cannot_agree_are_refused(dictionaries, words):
    with pytest.raises(DesignError, match=words):
        dictionary_agreement(dictionaries)


def test_principal_components_are_those_of_the_singular_value_decomposition():
    rows = np.random.default_rng(0).standard_normal((200, 6)) * [5, 4, 3, 2, 1, 0.5] + 7
    pca = PcaDictionary(rows, k=2)
    _, _, expected = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs((pca.decoder * expected).sum(axis=1)), 1, atol=1e-5)
    codes = pca.encode(rows)
    np.testing.assert_array_equal(np.diff(codes.indptr), 2)
    scores = np.abs((rows - rows.mean(axis=0)) @ expected.T)
    np.testing.assert_allclose(np.abs(codes).max(axis=1).toarray().ravel(), scores.max(axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    ("rows", "k", "words"),
    [(np.ones((1, 4)), 2, "n > 1"), (np.ones((5, 4)), 5, "k is 5; of 4 components 1 to all")],
)
def test_components_that_cannot_be_taken_are_refused(rows, k, words):
    with pytest.raises(DictionaryError, match=words):
        PcaDictionary(rows, k)


def test_components_for_a_dictionary_of_another_width_are_refused():
    with pytest.raises(DictionaryError, match=r"needs \(n, 16\)"):
        pca_dictionary(ToyDictionary(8, 16), np.ones((5, 4)))


def test_a_table_holds_dictionaries_and_baselines_as_sparse_as_they_are(tmp_path):
    dictionaries = [ToyDictionary(32, 32, layer=2, threshold=0, shift=1000), ToyDictionary(12, 32, layer=1)]
    found = compare_dictionaries(dictionaries, ToySubject(), TEXTS, baseline_texts=OTHERS)
    assert found["dictionary"].values.tolist() == [
        "toy-resid_post-l2",
        "toy-resid_post-l1",
        "pca of toy-resid_post-l2",
        "random of toy-resid_post-l2",
        "pca of toy-resid_post-l1",
        "random of toy-resid_post-l1",
    ]
    assert found["n_features"].values.tolist() == [32, 12, 32, 32, 32, 12]
    explained = found["explained_variance"].sel(scope="ordinary")
    np.testing.assert_allclose(
        explained.sel(dictionary=["toy-resid_post-l2", "pca of toy-resid_post-l2"]), 1, atol=1e-3
    )
    at = found.sel(dictionary="pca of toy-resid_post-l1")
    sparse = round(float(found["l0"].sel(dictionary="toy-resid_post-l1", scope="ordinary")))
    assert abs(float(at["l0"].sel(scope="ordinary")) - sparse) <= 1
    assert float(at["explained_variance"].sel(scope="ordinary")) > float(
        explained.sel(dictionary="random of toy-resid_post-l1")
    )
    save_netcdf(found, tmp_path / "found.nc")
    assert load_netcdf(tmp_path / "found.nc").identical(found)


@pytest.mark.parametrize(
    ("names", "baseline_texts", "words"),
    [
        (1, TEXTS[:1], "1 texts serve both for baselines and for judging"),
        (2, (), "each with its own name"),
        (0, (), "at least one"),
    ],
)
def test_tables_that_cannot_be_made_are_refused(names, baseline_texts, words):
    with pytest.raises(DesignError, match=words):
        compare_dictionaries(
            [ToyDictionary(8, 32)] * names, ToySubject(), TEXTS, baseline_texts=baseline_texts
        )
