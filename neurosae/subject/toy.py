"""A subject in pure numpy with planted units: every analysis and causal experiment in milliseconds.

It is no language model. It knows a few hundred words, singular from plural, and twelve capitals; what it
computes for which read-out is known by construction, so that a lesion has a right answer.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from neurosae.errors import SubjectError
from neurosae.schema.names import SITES
from neurosae.subject.interface import Change, Edit, Readings, Tokens
from neurosae.subject.toy_edits import Tap
from neurosae.subject.toy_weights import (
    AGREE_LAYER,
    BOS,
    D_MLP,
    D_Z,
    N_PLANTED,
    Block,
    block,
    embed,
    token_id,
    unembedding,
)

_TOKEN = re.compile(r"\w+|[^\w\s]")
_DECAY = 0.5
"""Rate at which mixed attention forgets, per token."""


class ToySubject:
    """A small residual network whose mechanisms are planted.

    Tokens are words and punctuation marks after one BOS. Units of the residual stream, by number
    (`neurosae.subject.toy_weights.UNITS`): 0 word (1 for known words, down to -1 for letter strings unlike
    English), 1 noun, 2 number of the token itself, 3 number of the last noun (+1 plural, -1 singular; written
    by attention in block 1), 4 agreement (3 gated by 0; written by the MLP of block 2 and read by verbs),
    5 country, 6 to 9 which country, 10 to 13 the last country of the text (written in block 1 and read by the
    capitals), 14 large at BOS only. The units above them are unplanted: hashed from the token and mixed by
    random weights. So a lesion of unit 3 after block 1, or of unit 4 after block 2, takes agreement to chance
    and leaves capitals alone.

    Parameters
    ----------
    n_layers : number of blocks, at least 3
    d_model : number of residual units, at least 20
    seed : of the random weights

    Raises
    ------
    SubjectError
        If the mechanisms do not fit.

    Examples
    --------
    >>> toy = ToySubject()
    >>> texts = toy.tokenize(["the keys are here", "the keys is here"])
    >>> bits = toy.run(texts, surprisal=True).surprisal.reshape(2, -1)
    >>> [str(word) for word in texts[0].token_str], bool(bits[0, 3] < bits[1, 3])
    (['<bos>', 'the', 'keys', 'are', 'here'], True)
    """

    context_length = 512

    def __init__(self, n_layers: int = 4, d_model: int = 32, seed: int = 0) -> None:
        if n_layers <= AGREE_LAYER or d_model < N_PLANTED + 5:
            raise SubjectError(
                f"a toy of {n_layers} layers and {d_model} units is too small for its planted mechanisms; "
                f"it needs at least {AGREE_LAYER + 1} layers and {N_PLANTED + 5} units."
            )
        self.name, self.n_layers, self.d_model, self.seed = "toy", n_layers, d_model, seed
        self._blocks = tuple(block(layer, d_model, seed) for layer in range(n_layers))
        self._unembed, self._bias = unembedding(d_model)

    def describe(self) -> dict[str, object]:
        """Identity for provenance: name, hash of the weights, tokenizer, dtype, device, BOS policy."""
        digest = hashlib.sha256(self._unembed.tobytes())
        for weights in self._blocks:
            digest.update(weights.value.tobytes() + weights.mlp_in.tobytes() + weights.mlp_out.tobytes())
        return {
            "name": self.name,
            "weights_sha256": digest.hexdigest(),
            "tokenizer": "words and punctuation",
            "tokenizer_sha256": hashlib.sha256(_TOKEN.pattern.encode()).hexdigest(),
            "dtype": "float32",
            "device": "cpu",
            "bos": "prepended",
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "seed": self.seed,
        }

    def n_features(self, site: str) -> int:
        """Number of features at ``site``; raises SubjectError for a site the subject lacks."""
        if site not in SITES:
            raise SubjectError(f"the toy has no site {site!r}; sites: {', '.join(SITES)}.")
        return {"attn_z": D_Z, "mlp_post": D_MLP}.get(site, self.d_model)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Words and punctuation marks of each text after one BOS; spans index the text."""
        return [_tokens(text) for text in texts]

    def run(
        self,
        tokens: Sequence[Tokens],
        *,
        sites: Mapping[str, Sequence[int]] | None = None,
        surprisal: bool = False,
        divergence: bool = False,
        edits: Sequence[Change] = (),
    ) -> Readings:
        """One pass over a batch of texts, as `neurosae.subject.interface.Subject.run` describes.

        Raises
        ------
        SubjectError
            If a site, layer or feature does not exist, or a text exceeds the context length.
        """
        wanted = {site: tuple(layers) for site, layers in (sites or {}).items()}
        self._check(tokens, wanted, edits)
        deepest = max((layer for layers in wanted.values() for layer in layers), default=-1)
        n_blocks = self.n_layers if surprisal or divergence else deepest + 1
        is_real, is_open, strings = _pad(tokens)
        tap = Tap(wanted, edits, is_real, is_open)
        state = self._through(strings, n_blocks, tap)
        intact = self._through(strings, n_blocks, Tap({}, (), is_real, is_open)) if divergence else state
        return Readings(
            {site: np.stack([tap.seen[site, at] for at in layers], 1) for site, layers in wanted.items()},
            self._surprisal(state, tokens, is_real) if surprisal else None,
            tuple(tap.shift),
            tuple(tap.edited),
            self._divergence(intact, state, is_real) if divergence else None,
        )

    def _through(self, strings: np.ndarray, n_blocks: int, tap: Tap) -> np.ndarray:
        unique, inverse = np.unique(strings, return_inverse=True)
        state = embed(unique.tolist(), self.d_model)[inverse.reshape(strings.shape)]
        for layer, weights in enumerate(self._blocks[:n_blocks]):
            state = _through_block(state, weights, layer, tap)
        return state

    def _surprisal(self, state: np.ndarray, tokens: Sequence[Tokens], is_real: np.ndarray) -> np.ndarray:
        log2p = self._log2p(state, is_real)
        ids = np.zeros(is_real.shape, dtype=np.int64)
        ids[is_real] = np.concatenate([text.token_id for text in tokens])
        return _at_predicted(-log2p[np.arange(len(log2p)), ids[:, 1:][is_real[:, 1:]]], is_real)

    def _divergence(self, intact: np.ndarray, edited: np.ndarray, is_real: np.ndarray) -> np.ndarray:
        log2p, log2q = self._log2p(intact, is_real), self._log2p(edited, is_real)
        return _at_predicted((np.exp2(log2p) * (log2p - log2q)).sum(axis=1), is_real)

    def _log2p(self, state: np.ndarray, is_real: np.ndarray) -> np.ndarray:
        """Log probabilities (predicted token, vocabulary), in bits."""
        predicting = np.zeros_like(is_real)
        predicting[:, :-1] = is_real[:, 1:]
        logits = state[predicting].astype(np.float64) @ self._unembed + self._bias
        logits -= logits.max(axis=1, keepdims=True)
        log2p: np.ndarray = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))) / np.log(2)
        return log2p

    def _check(
        self, tokens: Sequence[Tokens], sites: Mapping[str, tuple[int, ...]], edits: Sequence[Change]
    ) -> None:
        longest = max((len(text) for text in tokens), default=0)
        if longest == 0:
            raise SubjectError("there is no text to run; pass at least one text with at least one token.")
        if longest > self.context_length:
            raise SubjectError(f"a text has {longest} tokens; the toy reads at most {self.context_length}.")
        asked = [(site, layer) for site, layers in sites.items() for layer in layers]
        for site, layer in [*asked, *((edit.site, edit.layer) for edit in edits)]:
            self.n_features(site)
            if not 0 <= layer < self.n_layers:
                raise SubjectError(f"the toy has no layer {layer}; layers: 0 to {self.n_layers - 1}.")
        for edit in edits:
            if (
                isinstance(edit, Edit)
                and edit.features is not None
                and np.max(edit.features, initial=0) >= self.n_features(edit.site)
            ):
                raise SubjectError(
                    f"an edit at {edit.site} names feature {np.max(edit.features)}; there are "
                    f"{self.n_features(edit.site)}."
                )


def _at_predicted(values: np.ndarray, is_real: np.ndarray) -> np.ndarray:
    """Values of predicted tokens as rows of all real tokens; NaN at the first of each text."""
    bits = np.full(is_real.shape, np.nan)
    is_predicted = is_real.copy()
    is_predicted[:, 0] = False
    bits[is_predicted] = values
    return bits[is_real]


def _through_block(state: np.ndarray, weights: Block, layer: int, tap: Tap) -> np.ndarray:
    state = tap("resid_pre", layer, state)
    attn_z = tap("attn_z", layer, _attend(state, weights))
    state = tap("resid_mid", layer, state + tap("attn_out", layer, attn_z @ weights.output))
    mlp_post = tap("mlp_post", layer, np.maximum(state @ weights.mlp_in + weights.mlp_bias, 0))
    return tap("resid_post", layer, state + tap("mlp_out", layer, mlp_post @ weights.mlp_out))


def _attend(state: np.ndarray, weights: Block) -> np.ndarray:
    """Mix earlier tokens, the nearer the more; copying heads read the last token they look for."""
    position = np.arange(state.shape[1])
    distance = position[:, None] - position
    mixing = np.where(distance >= 0, np.exp(-_DECAY * np.maximum(distance, 0)), 0).astype(np.float32)
    attn_z = (mixing / mixing.sum(axis=1, keepdims=True)) @ (state @ weights.value)
    for gate, source, target in weights.copies:
        last = np.maximum.accumulate(np.where(state[..., gate] > 0.5, position, -1), axis=1)
        copied = np.take_along_axis(state[..., source], np.maximum(last, 0)[..., None], axis=1)
        attn_z[..., target] = np.where(last[..., None] >= 0, copied, 0)
    return attn_z


def _pad(tokens: Sequence[Tokens]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays (text, token): which tokens are real, which of these edits may change, and their strings."""
    longest = max(len(text) for text in tokens)
    is_real = np.arange(longest) < np.array([len(text) for text in tokens])[:, None]
    is_open, strings = np.zeros_like(is_real), np.full(is_real.shape, "", dtype=object)
    is_open[is_real] = ~np.concatenate([text.is_special for text in tokens]).astype(bool)
    strings[is_real] = np.concatenate([text.token_str for text in tokens])
    return is_real, is_open, strings.astype(str)


def _tokens(text: str) -> Tokens:
    found = list(_TOKEN.finditer(text))
    strings = [BOS, *(match.group() for match in found)]
    return Tokens(
        token_id=np.array([token_id(string) for string in strings]),
        token_str=np.array(strings, dtype=str),
        char_start=np.array([0, *(match.start() for match in found)]),
        char_end=np.array([0, *(match.end() for match in found)]),
        is_special=np.array([True, *(False for _ in found)]),
    )
