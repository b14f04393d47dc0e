"""Codes come out as they were planted, in memory and on disk; what does not fit is refused beforehand."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from neurosae.dictionary.toy import ToyDictionary
from neurosae.errors import DesignError, DictionaryError, StorageError
from neurosae.protocol.models import Protocol
from neurosae.recording import encode_session as module
from neurosae.recording.code_store import index_codes, open_codes
from neurosae.recording.codes import encoded, rounded
from neurosae.recording.encode_recording import encode
from neurosae.recording.manifest import entries
from neurosae.recording.portable import check_portable
from neurosae.recording.runner import record
from neurosae.recording.session import open_session
from neurosae.recording.upkeep import consolidate
from neurosae.schema.recordings import recording_array
from neurosae.subject.interface import Readings
from neurosae.subject.toy import ToySubject

D_IN, N_FEATURES = 32, 12
WORDS = ("the keys are here .", "the key", "a dog sees the capital of france today", "so be it")


def toy(layer=1, **kwargs):
    return ToyDictionary(N_FEATURES, D_IN, layer=layer, seed=layer, **kwargs)


class Planted(ToySubject):
    """Activations that two dictionaries rebuild exactly; one row in ten is NaN where asked for."""

    broken = False

    def run(self, tokens, **kwargs):
        readings = super().run(tokens, **kwargs)
        ids = np.concatenate([text.token_id for text in tokens])
        found = {}
        for site, values in readings.activations.items():
            planted = values.copy()
            for place, layer in enumerate(kwargs["sites"][site]):
                its = toy(layer)
                rng = [np.random.default_rng([int(i), layer]) for i in ids]
                codes = np.array([r.gamma(1, size=N_FEATURES) * (r.random(N_FEATURES) < 0.3) for r in rng])
                planted[:, place] = its.decode(sp.csr_array(codes.astype(np.float32)))
            if self.broken:
                planted[1, 0, 3] = np.nan
            found[site] = planted
        return Readings(activations=found, surprisal=readings.surprisal)


def stimuli(n=9):
    texts = [f"{WORDS[i % len(WORDS)]} {'so ' * (i % 5)}".strip() for i in range(n)]
    labels = [f"s{i}" for i in range(n)]
    return pd.DataFrame({"stimulus": labels, "text": texts, "condition": (["a", "b"] * n)[:n]})


def session(folder, subject=None, n=9, layers=(1, 2)):
    protocol = Protocol(name="d", stimuli="x", subject="toy", recording={"layers": list(layers)})
    return record(subject or Planted(), protocol, folder, stimuli=stimuli(n))


def dense(recording, dictionary):
    """What encoding every valid token one by one gives."""
    values = recording.sel(layer=dictionary.layer).values
    valid = recording["valid"].values
    out = np.full((*valid.shape, dictionary.n_features), np.nan, dtype=np.float32)
    out[valid] = rounded(dictionary.encode(values[valid]).toarray())
    return out


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    monkeypatch.setattr("neurosae.recording.plan.SHARD_STIMULI", 4)
    return session(tmp_path / "out")


def test_codes_in_memory_are_those_of_each_token_alone(recorded):
    recording = recorded["resid_post"]
    codes = encode(recording, toy(1))
    np.testing.assert_array_equal(codes.to_xarray().values[:, :, 0], dense(recording, toy(1)))
    assert codes.sizes == {
        "stimulus": 9,
        "token": recording.sizes["token"],
        "layer": 1,
        "feature": N_FEATURES,
    }
    assert codes["condition"].equals(recording["condition"])
    assert codes.attrs["basis"] == toy(1).name


def test_codes_on_disk_equal_those_in_memory(recorded):
    held = encode(recorded["resid_post"], toy(1)).to_xarray()
    stored = encode(recorded, toy(1)).to_xarray()
    np.testing.assert_array_equal(stored.values, held.values)
    again = open_session(recorded.path)["resid_post", toy(1).name].to_xarray()
    np.testing.assert_array_equal(again.values, held.values)


def test_two_dictionaries_make_two_layers_in_their_order(recorded):
    codes = encode(recorded, [toy(2), toy(1)])
    assert codes["layer"].values.tolist() == [1, 2]
    for layer in (1, 2):
        expected = dense(recorded["resid_post"], toy(layer))
        np.testing.assert_array_equal(codes.sel(layer=layer).to_xarray().values[:, :, 0], expected)


def test_every_verb_gives_a_part_of_the_dense_recording(recorded):
    codes = encode(recorded, [toy(1), toy(2)])
    whole = codes.to_xarray()
    valid = codes["valid"].values
    np.testing.assert_array_equal(codes.csr(2).toarray(), whole.sel(layer=2).values[valid])
    for layer in (1, 2):
        xr_one = whole.sel(layer=layer, feature=3)
        np.testing.assert_array_equal(codes.feature(3, layer=layer).values, xr_one.values)
    part = codes.sel(stimulus=["s7", "s2", "s3"], feature=[5, 0], layer=2)
    np.testing.assert_array_equal(
        part.to_xarray().values, whole.sel(stimulus=["s7", "s2", "s3"], layer=[2], feature=[5, 0]).values
    )
    one = codes.stimulus("s4")
    filled = np.zeros(whole.shape[1:], dtype=np.float32)
    filled[one["token"], one["layer"] - 1, one["feature"]] = one["value"]
    np.testing.assert_array_equal(filled[valid[4]], whole.sel(stimulus="s4").values[valid[4]])
    blocks = [block.toarray() for _, block in codes.blocks(1, rows=5)]
    assert len(blocks) > 3
    np.testing.assert_array_equal(np.concatenate(blocks), whole.sel(layer=1).values[valid])


def test_top_features_are_the_largest_in_order(recorded):
    codes = encode(recorded, toy(1))
    top = codes.top(3)
    whole = codes.to_xarray().values[:, :, 0]
    for stimulus, token in np.argwhere(codes["valid"].values):
        values = whole[stimulus, token]
        order = [j for j in np.argsort(-values, kind="stable")[:3] if values[j] != 0]
        found = top["feature"].values[stimulus, token]
        assert found[: len(order)].tolist() == order
        assert (found[len(order) :] == -1).all()
    assert (top["feature"].values[~codes["valid"].values] == -1).all()


def test_the_file_by_feature_can_be_removed_and_made_again(recorded):
    encode(recorded, toy(1))
    folder = recorded.path / open_session(recorded.path).dictionaries[toy(1).name]["folder"]
    with_index = open_codes(folder)
    assert with_index.index
    expected = with_index.columns(0, N_FEATURES).toarray()
    (folder / with_index.index).unlink()
    without = open_codes(folder)
    assert not without.index
    np.testing.assert_array_equal(without.columns(0, N_FEATURES).toarray(), expected)
    index_codes(folder)
    np.testing.assert_array_equal(open_codes(folder).columns(0, N_FEATURES).toarray(), expected)
    np.testing.assert_array_equal(open_codes(folder).columns(4, 7).toarray(), expected[:, 4:7])


def test_the_file_by_feature_is_the_same_however_much_is_in_memory(recorded, monkeypatch):
    encode(recorded, toy(1))
    folder = recorded.path / open_session(recorded.path).dictionaries[toy(1).name]["folder"]
    expected = open_codes(folder).columns(0, N_FEATURES).toarray()
    (folder / open_codes(folder).index).unlink()
    monkeypatch.setattr("neurosae.recording.by_feature.ENTRIES_AT_ONCE", 7)
    index_codes(folder)
    np.testing.assert_array_equal(open_codes(folder).columns(0, N_FEATURES).toarray(), expected)


def test_files_of_codes_are_portable(recorded):
    encode(recorded, toy(1))
    folder = recorded.path / open_session(recorded.path).dictionaries[toy(1).name]["folder"]
    files = sorted(folder.rglob("*.nc"))
    assert len(files) == 3 + 1 + 1
    assert [problem for file in files for problem in check_portable(file)] == []


def test_codes_of_a_consolidated_session_are_the_same(recorded):
    expected = encode(recorded["resid_post"], toy(1)).to_xarray()
    consolidated = consolidate(recorded.path)
    np.testing.assert_array_equal(encode(consolidated, toy(1)).to_xarray().values, expected.values)


def test_an_interrupted_encoding_goes_on_and_runs_no_finished_shard_again(recorded, monkeypatch):
    expected = encode(recorded["resid_post"], toy(1)).to_xarray().values
    calls = []
    real = module.add_code_shard

    def stopping(folder, number, *args, **kwargs):
        calls.append(number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(folder, number, *args, **kwargs)

    monkeypatch.setattr(module, "add_code_shard", stopping)
    with pytest.raises(KeyboardInterrupt):
        encode(recorded, toy(1))
    assert open_session(recorded.path).dictionaries == {}
    np.testing.assert_array_equal(encode(recorded, toy(1)).to_xarray().values, expected)
    assert calls == [0, 1, 1, 2]


def test_rows_that_are_nan_have_no_codes_and_say_so(tmp_path):
    broken = Planted()
    broken.broken = True
    with pytest.warns(UserWarning, match="NaN or infinite"):
        its = session(tmp_path / "out", broken, n=1)
    for codes in (encode(its["resid_post"], toy(1)), encode(its, toy(1))):
        whole = codes.to_xarray()
        assert codes.unknown.sum() == 1
        assert np.isnan(whole.values[codes.unknown]).all()
        is_known = codes["valid"].values & ~codes.unknown[:, :, 0]
        assert np.isfinite(whole.values[is_known]).all()


def test_special_tokens_have_no_codes(recorded):
    codes = encode(recorded, toy(1))
    special = codes["is_special"].values
    assert special.any()
    assert not (codes["valid"].values & special).any()
    rows = codes.sources[0].rows(0, codes.sources[0].n_rows)
    assert np.diff(rows.indptr)[codes.first[:-1]].sum() == 0


def test_rounding_is_to_eleven_digits_half_to_even():
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32) * 10.0
    expected = np.array([float(np.format_float_positional(v)) for v in values])
    error = np.abs(rounded(values) - expected) / np.abs(expected)
    assert 0.9 * 2**-11 < error.max() <= 2**-11
    np.testing.assert_array_equal(rounded(rounded(values)), rounded(values))
    halves = np.array([1 + 2**-11, 1 + 3 * 2**-11], dtype=np.float32)
    assert rounded(halves).tolist() == [1.0, 1 + 2**-9]
    assert rounded(np.array([np.inf, -np.inf, 0], dtype=np.float32)).tolist() == [np.inf, -np.inf, 0]


def test_a_dictionary_of_another_layer_site_or_width_is_refused(recorded):
    for wrong, what in (
        (toy(0), "layer"),
        (toy(1, site="mlp_out"), "site"),
        (ToyDictionary(4, 16, layer=1), "width"),
    ):
        with pytest.raises((DictionaryError, StorageError), match=what):
            encode(recorded["resid_post"], wrong)


def test_a_dictionary_of_other_activations_is_refused_before_anything_is_written(recorded):
    stranger = ToyDictionary(N_FEATURES, D_IN, layer=1, seed=99)
    stranger.bias = stranger.bias + 50
    for source in (recorded["resid_post"], recorded):
        with pytest.raises(DictionaryError, match="unexplained"):
            encode(source, stranger)
    assert [path.name for path in recorded.path.iterdir() if "+" in path.name] == []


def test_another_dictionary_of_the_same_name_is_refused(recorded):
    encode(recorded, toy(1))
    other = toy(1)
    other.decoder = other.decoder[:, ::-1].copy()
    with pytest.raises(StorageError, match="weights_sha256"):
        encode(open_session(recorded.path), other)


def test_two_dictionaries_of_one_layer_are_refused(recorded):
    with pytest.raises(DesignError, match="share a layer"):
        encode(recorded, [toy(1), toy(1)])


def test_unknown_labels_are_named(recorded):
    codes = encode(recorded, [toy(1), toy(2)])
    with pytest.raises(DesignError, match="no stimulus nobody"):
        codes.sel(stimulus="nobody")
    with pytest.raises(DesignError, match="not token"):
        codes.sel(token=1)
    with pytest.raises(DesignError, match="layer="):
        codes.feature(3)
    with pytest.raises(DesignError, match="at least 1"):
        codes.top(0, layer=1)
    with pytest.raises(DesignError, match="GB"):
        codes.to_xarray(max_bytes=10)
    with pytest.raises(StorageError, match="no codes of 'resid_post'"):
        recorded["resid_post", "nothing"]


def test_encoded_rows_are_those_asked_for():
    its = toy(0)
    rows = its.decode(sp.csr_array(np.eye(N_FEATURES, dtype=np.float32)))
    codes = encoded(its, rows, np.arange(N_FEATURES) % 2 == 0).toarray()
    assert (codes[::2] > 0).sum() == N_FEATURES / 2
    assert (codes[1::2] == 0).all()


def test_entries_are_counted_in_the_manifest(recorded):
    codes = encode(recorded, toy(1))
    folder = recorded.path / open_session(recorded.path).dictionaries[toy(1).name]["folder"]
    counted = sum(entry["entries"] for entry in entries(folder, "shard").values())
    assert counted == codes.csr(1).nnz  # the toy has no sinks, whose codes are stored but not valid


def test_a_recording_needs_no_special_field(tmp_path):
    its = toy(0)
    planted = its.decode(sp.csr_array(np.eye(N_FEATURES, dtype=np.float32)))
    recording = recording_array(
        planted.reshape(3, 4, 1, D_IN),
        stimuli=pd.DataFrame({"stimulus": list("abc"), "text": ["x"] * 3}),
        tokens={"valid": np.ones((3, 4), dtype=bool)},
        layers=[0],
        site="resid_post",
        origin={},
    )
    assert encode(recording, its).csr(0).shape == (12, N_FEATURES)
