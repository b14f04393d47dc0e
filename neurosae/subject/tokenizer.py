"""Which tokens a text becomes: the subject's own tokenizer and BOS policy, without its weights or torch."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from neurosae.subject.folder import bos_string, read_config, tokenizer_path
from neurosae.subject.interface import Tokens

WITHOUT_BOS = frozenset(
    {
        "bloom",
        "ernie4_5",
        "ernie4_5_moe",
        "exaone",
        "exaone4",
        "glm",
        "glm4_moe",
        "gpt_neox",
        "granite",
        "mpt",
        "phi",
        "phimoe",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "recurrent_gemma",
        "seed_oss",
        "smollm3",
        "starcoder2",
    }
)
"""Model types trained without a BOS; the same policy as TransformerLens, whose dictionaries assume it."""


class SubjectTokenizer:
    """The tokenizer of a model folder, with the policy for BOS.

    Special strings inside a text (say '<|im_start|>') are read as ordinary characters, so that a stimulus
    cannot smuggle in control tokens. BOS is prepended unless the model type was trained without it or the
    tokenizer has none.

    Parameters
    ----------
    folder : local model folder with ``config.json`` and ``tokenizer.json``

    Raises
    ------
    SubjectError
        If a file is missing or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = tokenizer_path(folder)
        self._tokenizer = Tokenizer.from_file(str(self._path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        added = self._tokenizer.get_added_tokens_decoder()
        self._special_ids = sorted(number for number, token in added.items() if token.special)
        self.special_strings = tuple(added[number].content for number in self._special_ids)
        is_without = read_config(folder).get("model_type") in WITHOUT_BOS
        self._bos = None if is_without else bos_string(folder)
        self.bos_id: int | None = None if self._bos is None else self._tokenizer.token_to_id(self._bos)

    @property
    def prepend_bos(self) -> bool:
        """Whether every text is preceded by BOS."""
        return self.bos_id is not None

    @cached_property
    def sha256(self) -> str:
        """Hash of the file ``tokenizer.json``."""
        return hashlib.sha256(self._path.read_bytes()).hexdigest()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text, BOS first where the policy is to prepend it.

        Byte-level pieces of one character (an emoji) have overlapping spans; a piece's span includes the
        space before a word if the tokenizer joins the two.

        Parameters
        ----------
        texts : texts, in any language

        Returns
        -------
        list of Tokens
            One a text; ``token_str`` are the tokenizer's pieces, such as 'Ġthe'.
        """
        # Not encode_batch: its threads make every later fork of the process print a warning.
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: str) -> Tokens:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        ids, pieces, spans = encoding.ids, encoding.tokens, encoding.offsets
        if self.bos_id is not None:
            ids = [self.bos_id, *ids]
            pieces = [str(self._bos), *pieces]
            spans = [(0, 0), *spans]
        token_id = np.array(ids, dtype=np.int64)
        starts_ends = np.array(spans, dtype=np.int64).reshape(-1, 2)
        return Tokens(
            token_id=token_id,
            token_str=np.array(pieces, dtype=str),
            char_start=starts_ends[:, 0],
            char_end=starts_ends[:, 1],
            is_special=np.isin(token_id, self._special_ids),
        )
