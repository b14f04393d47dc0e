"""Names that every floor shares: dims, sites, token fields. No logic lives here."""

STIMULUS, TOKEN, LAYER, FEATURE = "stimulus", "token", "layer", "feature"
WINDOW = "window"
"""Parts of a stimulus, from 0; a dim of responses pooled over several of them."""

RECORDING_DIMS = (STIMULUS, TOKEN, LAYER, FEATURE)
RESPONSE_DIMS = (STIMULUS, LAYER, FEATURE)
WINDOWED_DIMS = (STIMULUS, WINDOW, LAYER, FEATURE)

SITES = ("resid_pre", "resid_mid", "resid_post", "attn_out", "attn_z", "mlp_out", "mlp_post")
RESIDUAL_SITES = SITES[:3]
"""Sites that share one coordinate system over the layers of a subject."""

UNITS_BASIS = "units"
"""The basis of raw activations; any other basis is the name of a dictionary."""

TOKEN_FIELDS = (
    "valid",
    "token_id",
    "token_str",
    "char_start",
    "char_end",
    "word_index",
    "is_special",
    "is_sink",
    "rel_target",
    "surprisal",
)
"""Coordinates over (stimulus, token). valid = real, not special, not a sink."""

RESERVED = (
    *TOKEN_FIELDS,
    TOKEN,
    LAYER,
    FEATURE,
    WINDOW,
    "is_missing",
    "row",
    "activation",
    "norm",
    "n_tokens",
    "token_count",
    "token_position",
    "stimulus_id",
    "stimulus_index",
    "entry",
    "active_count",
    "feature_index",
    "row_count",
    "row_index",
)
"""Names that stimulus columns may not have, as recordings and responses use them themselves."""

NO_TARGET = -(2**31)
"""rel_target of a stimulus without a target span; outside every window."""

NO_WORD = -1
"""word_index of a token that belongs to no word (special tokens, white space)."""

SINK_RATIO = 10.0
"""A token is an attention sink if its residual norm exceeds this multiple of the layer's median.

In SmolLM2-135M sinks are 19 to 86 times the median (blocks 11 to 27), while blocks 2 to 8 have
heavy tails in which 6 % of ordinary tokens exceed 3 times and none reaches 12 times.
"""
