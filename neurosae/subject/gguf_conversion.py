"""How the quantised SmolLM2 becomes a plain model folder: dequantised weights, configuration, tokenizer."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from neurosae.subject.folder import TOKENIZER_FILE
from neurosae.subject.quiet import quiet

_QUANTISATION_MARKS = ("quantization_config", "_pre_quantization_dtype")


def dequantise(source: Path, folder: Path) -> None:
    """Write ``source``, a GGUF file of a Llama model, as float32 safetensors with its tokenizer.

    Parameters
    ----------
    source : the GGUF file
    folder : where the model folder is written
    """
    with quiet(), _bars_in_terminals_only():
        place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
        tokenizer = AutoTokenizer.from_pretrained(**place, local_files_only=True)
        quantised: Any = AutoModelForCausalLM.from_pretrained(
            **place, local_files_only=True, dtype=torch.float32
        )
        # A model loaded from GGUF refuses to be saved, even when it is dequantised: its weights move house.
        for mark in _QUANTISATION_MARKS:
            if hasattr(quantised.config, mark):
                delattr(quantised.config, mark)
        plain = LlamaForCausalLM(quantised.config)
        plain.load_state_dict(quantised.state_dict())
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    split_digits(folder / TOKENIZER_FILE)


def split_digits(path: Path) -> None:
    """Make a tokenizer read every digit by itself, as SmolLM2 was trained to.

    GGUF names this rule ('smollm') without spelling it out, and the reader of GGUF files leaves it out; it
    decides how white space before a digit is cut.

    Parameters
    ----------
    path : a ``tokenizer.json`` of a byte-level tokenizer, rewritten in place
    """
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save(str(path))


@contextlib.contextmanager
def _bars_in_terminals_only() -> Iterator[None]:
    """Hide the reader's own progress bar, which no setting turns off, unless a person is watching."""
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield
