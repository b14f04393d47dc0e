"""Which features of a map a localizer takes: rules by name, and how much two random selections share."""

from dataclasses import dataclass

import numpy as np

from neurosae.errors import DesignError


@dataclass(frozen=True)
class SelectionRule:
    """By the size of the statistic, whatever its sign, if ``absolute``; from each layer if ``per_layer``."""

    text: str
    absolute: bool = False
    per_layer: bool = False

    def weights(self, stat: np.ndarray, fraction: float) -> np.ndarray:
        """Which features of a map (L, F) are selected, (L, F) int8: 0, 1, or -1 for effects reversed.

        Only ``absolute`` rules give -1: there a response is turned so that its training effect is positive.

        Raises
        ------
        DesignError
            If ``fraction`` is not in (0, 1], or no feature was tested.
        """
        score = np.abs(stat) if self.absolute else stat
        tested = np.isfinite(stat)
        n_of_fraction(fraction, int(tested.sum()))
        parts = [(layer,) for layer in np.flatnonzero(tested.any(axis=1))] if self.per_layer else [()]
        member = np.zeros(stat.shape, dtype=bool)
        for part in parts:
            member[part] = top_members(score[part], n_of_fraction(fraction, int(tested[part].sum())))
        sign = np.where(stat < 0, -1, 1) if self.absolute else 1
        return np.asarray(member * sign, dtype=np.int8)

    def columns(self, maps: np.ndarray, n_selected: np.ndarray) -> np.ndarray:
        """Columns that many maps select, (P, n): maps (P, L F), -inf where not tested; n_selected (L,)."""
        score = np.where(np.isfinite(maps), np.abs(maps), -np.inf) if self.absolute else maps
        if not self.per_layer:
            return _largest(score, int(n_selected.sum()))
        width = maps.shape[1] // len(n_selected)
        return np.concatenate(
            [
                _largest(score[:, layer * width : (layer + 1) * width], n) + layer * width
                for layer, n in enumerate(n_selected.tolist())
                if n
            ],
            axis=1,
        )

    def signs(self, maps: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Sign that each selected response is counted with, (P, n): 1 unless the rule is ``absolute``."""
        if not self.absolute:
            return np.ones(columns.shape, dtype=maps.dtype)
        return np.where(np.take_along_axis(maps, columns, axis=1) < 0, -1, 1).astype(maps.dtype)

    def dice(self, first: np.ndarray, second: np.ndarray, fraction: float) -> tuple[float, float]:
        """Dice index of the selections from two maps (L, F), NaN where not tested; and that by chance.

        Features selected by their size in both maps but in opposite directions are not shared.
        """
        one, other = self.weights(first, fraction), self.weights(second, fraction)
        n = np.count_nonzero(one, axis=1)
        tested = np.isfinite(first).sum(axis=1)
        if not self.per_layer:
            n, tested = n.sum(keepdims=True), tested.sum(keepdims=True)
        expected = np.divide(n**2, tested, out=np.zeros(len(n)), where=tested > 0).sum()
        expected = expected / 2 if self.absolute else expected
        return float(((one == other) & (one != 0)).sum() / n.sum()), float(expected / n.sum())


RULES = {
    "signed": SelectionRule("the largest statistics over all layers"),
    "absolute": SelectionRule("the largest statistics in size over all layers", absolute=True),
    "per_layer": SelectionRule("the largest statistics of each layer", per_layer=True),
    "absolute_per_layer": SelectionRule("the largest statistics in size of each layer", True, True),
}
"""Rules by which a share of the features is selected."""


def selection_rule(name: str) -> SelectionRule:
    """The rule called ``name``.

    Raises
    ------
    DesignError
        If it is not one of `RULES`.
    """
    if name not in RULES:
        raise DesignError(f"rule {name!r} is unknown; choose one of {list(RULES)}.")
    return RULES[name]


def top_members(stat: np.ndarray, n: int) -> np.ndarray:
    """The n largest statistics, NaN last, ties by position: bool of the same shape."""
    order = np.argsort(np.where(np.isnan(stat), np.inf, -stat), axis=None, kind="stable")
    member = np.zeros(stat.size, dtype=bool)
    member[order[:n]] = True
    return member.reshape(stat.shape)


def n_of_fraction(fraction: float, n_tested: int) -> int:
    """Number of features in a share of those tested, at least one.

    Raises
    ------
    DesignError
        If ``fraction`` is not in (0, 1], or no feature was tested.
    """
    if not 0 < fraction <= 1:
        raise DesignError(f"fraction is {fraction}; it must lie above 0 and at most at 1.")
    if n_tested == 0:
        raise DesignError("no feature is valid, so none can be selected; are the responses constant?")
    return max(1, round(fraction * n_tested))


def _largest(score: np.ndarray, n: int) -> np.ndarray:
    return np.argpartition(score, -n, axis=1)[:, -n:]
