"""Which texts of a corpus does the decoder of a concept pick? The top ones, beside as many at random.

Whether they show the concept is for judges to say who do not know which list a text is from.
"""

import numpy as np
import xarray as xr

from neurosae.analysis.classes import class_labels
from neurosae.analysis.decoding_rows import is_scaled, layer_rows
from neurosae.analysis.pipeline_cells import SIZE
from neurosae.analysis.sparse_logistic import ranked_features, small_decoder
from neurosae.errors import DesignError
from neurosae.schema.names import FEATURE, LAYER, STIMULUS
from neurosae.schema.provenance import with_step
from neurosae.schema.recordings import check_responses
from neurosae.schema.units import unit_keys

N_SHOWN = 25

LISTS = {
    "top": "highest scores of the decoder",
    "random": "drawn at random from the rest",
    "shuffled": "highest scores of a decoder of shuffled labels",
}


def retrieve(
    responses: xr.DataArray,
    corpus: xr.DataArray,
    by: str,
    *,
    target: str,
    selector: str = "welch",
    n: int = N_SHOWN,
    seed: int = 0,
) -> xr.Dataset:
    """Which stimuli of a corpus look most like the target class, and which to judge beside them.

    The 8 best features by the selector, z-scored, logistic regression, learned from all ``responses``; score
    of a corpus stimulus = log odds of the target, whatever the order of the class names.

    Parameters
    ----------
    responses : DataArray (stimulus, layer, feature) with one layer, of two classes ``by``
    corpus : DataArray (stimulus, layer, feature) of other stimuli, same layer, features and basis
    target : the class looked for, by name
    selector : a name in `neurosae.arrays.feature_scores.SELECTORS`
    n : length of each list; three lists share no stimulus of the first two
    seed : of the random list and of the shuffled labels

    Returns
    -------
    Dataset
        (unit) score of all corpus stimuli, in their order; (list, place) listed, the labels of the stimuli of
        the lists top, random (from the rest) and shuffled (top of a decoder of shuffled labels). Judge all
        three blind. No p. Attribute ``other_provenance``: where the corpus comes from.

    Raises
    ------
    DesignError
        If there are several layers, features differ, the target is no class of two, fewer than 8 features are
        alive, the corpus is smaller than two lists or shares stimuli with ``responses``.

    Examples
    --------
    >>> from neurosae.testing import planted_responses
    >>> known, corpus = (
    ...     planted_responses(n_layers=1, planted=[(0, 4)], effect=6.0, seed=seed) for seed in (0, 1)
    ... )
    >>> found = retrieve(known, corpus, "condition", target="B", n=5)
    >>> found["listed"].sel(list="top").values.tolist()
    ['B14_0', 'B03_0', 'B06_0', 'B10_0', 'B02_0']
    """
    names, labels = _check(responses, corpus, by, target, n)
    rng = np.random.default_rng(seed)
    rows = layer_rows(responses, 0), layer_rows(corpus, 0)
    is_target = (names[labels] == target).astype(int)
    scaled = is_scaled(responses)
    score = _log_odds(*rows, is_target, selector, scaled, seed)
    shuffled = _log_odds(*rows, rng.permutation(is_target), selector, scaled, seed)
    units = corpus[STIMULUS].values.astype(str)
    top = np.argsort(-score, kind="stable")[:n]
    drawn = rng.choice(np.setdiff1d(np.arange(len(units)), top), n, replace=False)
    other = np.argsort(-shuffled, kind="stable")[:n]
    settings = {"by": by, "target": target, "selector": selector, "n": n, "size": SIZE, "seed": seed}
    return xr.Dataset(
        {
            "score": ("unit", score, {"long_name": f"log odds of {target}", "units": "nats"}),
            "listed": (
                ("list", "place"),
                units[np.stack([top, drawn, other])],
                {"long_name": "stimuli to judge", "units": "1"},
            ),
        },
        coords={"unit": units, "list": list(LISTS), "place": np.arange(n)},
        attrs={
            **settings,
            "other_provenance": str(corpus.attrs.get("provenance", "")),
            **with_step(responses, "retrieve", **settings),
        },
    )


def _check(
    responses: xr.DataArray, corpus: xr.DataArray, by: str, target: str, n: int
) -> tuple[np.ndarray, np.ndarray]:
    for name, given in (("responses", responses), ("the corpus", corpus)):
        check_responses(given)
        if given.sizes[LAYER] != 1:
            raise DesignError(f"{name} has {given.sizes[LAYER]} layers; select one, as in .sel(layer=[15]).")
    same = responses.attrs.get("basis") == corpus.attrs.get("basis")
    if not same or responses.sizes[FEATURE] != corpus.sizes[FEATURE]:
        raise DesignError(
            f"responses ({responses.attrs.get('basis')!r}, {responses.sizes[FEATURE]} features) and corpus "
            f"({corpus.attrs.get('basis')!r}, {corpus.sizes[FEATURE]}) are of different bases."
        )
    names, labels = class_labels(responses, by)
    if len(names) != 2 or target not in names:
        raise DesignError(f"classes {names.tolist()} of {by!r}: need two, {target!r} among them.")
    if corpus.sizes[STIMULUS] < 2 * n:
        raise DesignError(f"the corpus has {corpus.sizes[STIMULUS]} stimuli; two lists of {n} need {2 * n}.")
    shared = unit_keys(responses, STIMULUS) & unit_keys(corpus, STIMULUS)
    if shared:
        raise DesignError(
            f"{len(shared)} stimuli are in the corpus and were trained on, first {sorted(shared)[0]!r}; take "
            "them out."
        )
    return names, labels


def _log_odds(
    known: np.ndarray, corpus: np.ndarray, labels: np.ndarray, selector: str, scaled: bool, seed: int
) -> np.ndarray:
    # Directed selectors take class 0 for the target.
    order = ranked_features(known, 1 - labels, 2, selector, is_scaled=scaled, seed=seed)
    decoder = small_decoder(known, corpus, labels, order[:SIZE]) if len(order) >= SIZE else None
    if decoder is None:
        raise DesignError(
            f"no decoder of {SIZE} features: {len(order)} are alive, or the regression does not converge."
        )
    return decoder.score[:, 0]
