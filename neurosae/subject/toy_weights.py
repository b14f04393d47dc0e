"""What the toy subject knows: its words, what each means to its planted units, and its weights.

Everything is a pure function of token strings and a seed, so that two toys of one seed are the same subject.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

BOS = "<bos>"

UNITS = {"word": 0, "noun": 1, "own_number": 2, "number": 3, "agreement": 4, "entity": 5, "sink": 14}
"""Residual units with a planted meaning; see `neurosae.subject.toy.ToySubject`."""

KEY, RECALLED = slice(6, 10), slice(10, 14)
"""Residual units that hold which entity a token is, and which entity the text mentioned last."""

N_PLANTED = 15
_GRADE = 0.1

FACTS = {
    "france": "paris",
    "italy": "rome",
    "spain": "madrid",
    "egypt": "cairo",
    "japan": "tokyo",
    "cuba": "havana",
    "peru": "lima",
    "greece": "athens",
    "austria": "vienna",
    "norway": "oslo",
    "ireland": "dublin",
    "kenya": "nairobi",
}
"""Which city is the capital of which country."""


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _split(
    "key boat dog cat tree river house book child teacher garden door cup stone horse lamp road farmer "
    "bird flower"
)
PLACES = _split("here there outside inside nearby upstairs away downstairs")
SINGULAR_VERBS, PLURAL_VERBS = ("is", "was", "has", "does"), ("are", "were", "have", "do")
_FUNCTION_WORDS = _split(
    "the a an and or but of to in on at by for with from as that this these those it he she they we you "
    "i not no so if then than when where who which what his her its their our your my very more most all "
    "some past near under over into after before"
)
_OTHER_WORDS = _split(
    "capital big small old new good red green quiet carries boats houses hills see saw make made go went "
    "come came take took give gave know knew think thought say said look looked find found run ran eat ate "
    "time day man woman people year way world life hand part place work week case point company number "
    "night water room mother father area money story fact month lot right study eye job word business side "
    "kind head city happy sad angry fear joy hope love hate pain war peace death warm cold long short first "
    "last great little own other only just also back even still well down up out food music sound light "
    "blue black white colour color one two three four five six seven eight nine ten"
)
_COMMON_PAIRS = frozenset(
    _split(
        "th he in er an re nd at on nt ha es st en ed to it ou ea hi is or ti as te et ng of al de se le sa "
        "si ar ve ra ld ur ic io ro li ri om ce ma me co ne la el us ll ch ee ho ge ss tr ly be ca"
    )
)


def _known_words() -> tuple[str, ...]:
    plurals = [f"{noun}s" for noun in NOUNS] + ["children"]
    groups = (_FUNCTION_WORDS, SINGULAR_VERBS, PLURAL_VERBS, NOUNS, plurals, PLACES, _OTHER_WORDS)
    words = [word for group in groups for word in group]
    return tuple(dict.fromkeys([BOS, *words, *FACTS, *FACTS.values()]))


KNOWN = _known_words()
N_VOCABULARY = 512
"""Known words by position, then buckets that the other strings share."""

_IDS = {word: number for number, word in enumerate(KNOWN)}
_CLOSED_CLASS = frozenset((*_FUNCTION_WORDS, *SINGULAR_VERBS, *PLURAL_VERBS, *PLACES))


def token_id(token: str) -> int:
    """Number of a token in the vocabulary: a known word has its own, other strings share buckets.

    Examples
    --------
    >>> token_id("<bos>"), token_id("The") == token_id("the")
    (0, True)
    """
    known = _IDS.get(token.lower())
    if known is not None:
        return known
    n_buckets = N_VOCABULARY - len(KNOWN)
    return len(KNOWN) + int.from_bytes(_digest(token, 4), "big") % n_buckets


def wordness(token: str) -> float:
    """How much a token looks like an English word: 1 if known, -1 to 1 by its letter pairs, else 0.

    Examples
    --------
    >>> wordness("river"), round(wordness("xqzvk"), 1), wordness("...")
    (1.0, -1.0, 0.0)
    """
    word = token.lower()
    if word in _IDS and word != BOS:
        return 1.0
    if not word.isalpha() or len(word) < 2:
        return 0.0
    pairs = [word[i : i + 2] for i in range(len(word) - 1)]
    share = sum(pair in _COMMON_PAIRS for pair in pairs) / len(pairs)
    return 1.5 * share - 1.0


def embed(tokens: Sequence[str], d_model: int) -> np.ndarray:
    """Vectors (token, d_model) float32: meaning in the planted units, hashed values of SD 1 in the others."""
    return np.array([_embed_one(token.lower(), d_model) for token in tokens], dtype=np.float32)


def _embed_one(word: str, d_model: int) -> np.ndarray:
    vector = np.zeros(d_model)
    vector[N_PLANTED:] = _hashed(word, d_model - N_PLANTED)
    if word == BOS:
        vector[UNITS["sink"]] = 120.0
        return vector
    # planted values vary a little from word to word, so that they have a variance within conditions
    word_noise, noun_noise = _GRADE * _hashed(f"grade {word}", 2)
    vector[UNITS["word"]] = wordness(word) + word_noise
    if word.isalpha() and len(word) > 2 and word not in _CLOSED_CLASS and word not in FACTS:
        is_plural = word == "children" or (word.endswith("s") and not word.endswith(("ss", "us", "is")))
        vector[UNITS["noun"]] = 1.0
        vector[UNITS["own_number"]] = (1.0 if is_plural else -1.0) + noun_noise
    if word in FACTS:
        vector[UNITS["entity"]] = 1.0
        vector[KEY] = _key(word)
    return vector


def unembedding(d_model: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (d_model, vocabulary) and biases (vocabulary) of the logits; known words are more frequent."""
    weights = np.zeros((N_VOCABULARY, d_model))
    for number in range(N_VOCABULARY):
        word = KNOWN[number] if number < len(KNOWN) else str(number)
        weights[number, N_PLANTED:] = 0.15 * _hashed(f"read {word}", d_model - N_PLANTED)
    for verbs, sign in ((SINGULAR_VERBS, -1.0), (PLURAL_VERBS, 1.0)):
        weights[[_IDS[verb] for verb in verbs], UNITS["agreement"]] = 2.0 * sign
    for country, city in FACTS.items():
        weights[_IDS[city], RECALLED] = 5.0 * _key(country)
    bias = np.where(np.arange(N_VOCABULARY) < len(KNOWN), 2.0, 0.0)
    return weights.T, bias


@dataclass(frozen=True)
class Block:
    """One residual block: attn_z = [copies | mixed values], then a layer of rectified units.

    copies : (gate unit, units read, positions in attn_z): a head that copies from the last gated token
    value (d_model, d_z), output (d_z, d_model); mlp_in (d_model, n), mlp_bias (n,), mlp_out (n, d_model)
    """

    copies: tuple[tuple[int, slice, slice], ...]
    value: np.ndarray
    output: np.ndarray
    mlp_in: np.ndarray
    mlp_bias: np.ndarray
    mlp_out: np.ndarray


D_Z, D_MLP = 24, 48
_NUMBER_Z, _ENTITY_Z = slice(0, 1), slice(1, 5)
_N_PLANTED_Z, _N_PLANTED_MLP = 5, 2
COPY_LAYER, AGREE_LAYER = 1, 2


def block(layer: int, d_model: int, seed: int) -> Block:
    """Weights of one block: random ones between unplanted units, and the mechanism planted at its layer."""
    rng = np.random.default_rng([seed, layer])
    free = slice(N_PLANTED, None)
    value, output = np.zeros((d_model, D_Z)), np.zeros((D_Z, d_model))
    mlp_in, mlp_out = np.zeros((d_model, D_MLP)), np.zeros((D_MLP, d_model))
    mlp_bias = np.zeros(D_MLP)
    n_free = d_model - N_PLANTED
    value[free, _N_PLANTED_Z:] = rng.normal(0, n_free**-0.5, (n_free, D_Z - _N_PLANTED_Z))
    output[_N_PLANTED_Z:, free] = rng.normal(0, 0.5 * D_Z**-0.5, (D_Z - _N_PLANTED_Z, n_free))
    mlp_in[:, _N_PLANTED_MLP:] = rng.normal(0, d_model**-0.5, (d_model, D_MLP - _N_PLANTED_MLP))
    mlp_in[UNITS["sink"]] = 0.0
    mlp_out[_N_PLANTED_MLP:, free] = rng.normal(0, 0.5 * D_MLP**-0.5, (D_MLP - _N_PLANTED_MLP, n_free))
    copies: tuple[tuple[int, slice, slice], ...] = ()
    if layer == COPY_LAYER:
        number = slice(UNITS["own_number"], UNITS["own_number"] + 1)
        copies = ((UNITS["noun"], number, _NUMBER_Z), (UNITS["entity"], KEY, _ENTITY_Z))
        output[_NUMBER_Z, UNITS["number"]] = 1.0
        output[_ENTITY_Z, RECALLED] = np.eye(4)
    if layer == AGREE_LAYER:
        _plant_agreement(mlp_in, mlp_bias, mlp_out)
    weights = (value, output, mlp_in, mlp_bias, mlp_out)
    return Block(copies, *(array.astype(np.float32) for array in weights))


def _plant_agreement(mlp_in: np.ndarray, mlp_bias: np.ndarray, mlp_out: np.ndarray) -> None:
    """Plant agreement = number · word for number ±1 and word 0 or 1: relu(n + w - 1) - relu(-n + w - 1)."""
    for unit, sign in enumerate((1.0, -1.0)):
        mlp_in[[UNITS["number"], UNITS["word"]], unit] = sign, 1.0
        mlp_bias[unit] = -1.0
        mlp_out[unit, UNITS["agreement"]] = sign


def _key(country: str) -> np.ndarray:
    """Unit vector of a country: one of the 24 roots of the lattice D4, no two closer than 60 degrees."""
    places = list(combinations(range(4), 2))
    number = list(FACTS).index(country)
    vector = np.zeros(4)
    vector[list(places[number % len(places)])] = 1.0, (-1.0) ** (number // len(places))
    return vector / np.linalg.norm(vector)


def _hashed(text: str, n: int) -> np.ndarray:
    """Draw n values of mean 0 and SD 1 that depend on ``text`` only."""
    return (np.frombuffer(_digest(text, n), dtype=np.uint8) - 127.5) / 73.9


def _digest(text: str, n_bytes: int) -> bytes:
    return hashlib.shake_256(text.encode()).digest(n_bytes)
