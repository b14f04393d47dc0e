"""Findings: each number a report states, with its n, effect, interval and p."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from neurosae.schema.names import LAYER

_ROUNDING = 1e-9
"""Below this a number is rounding error of a sum that is 0."""


@dataclass(frozen=True)
class Finding:
    """One number with what a reader needs to judge it.

    p is a permutation p unless ``note`` says otherwise, and ``p_floor`` the smallest that its permutations
    allow; NaN where the quantity has no test or interval.
    """

    label: str
    measure: str
    effect: float
    lo: float = math.nan
    hi: float = math.nan
    p: float = math.nan
    p_floor: float = 0.0
    n: int = 0
    note: str = ""
    headline: bool = False

    @property
    def interval(self) -> str:
        """The 95 % interval in brackets, or a dash."""
        return "–" if math.isnan(self.lo) else f"[{number(self.lo)}, {number(self.hi)}]"

    @property
    def p_text(self) -> str:
        """P with its sign: ≤ at the smallest value that the permutations allow, a dash without a test."""
        if math.isnan(self.p):
            return "–"
        return f"{'≤' if self.p <= self.p_floor * (1 + _ROUNDING) else '='} {number(self.p)}"

    def sentence(self) -> str:
        """The finding in one line, for the terminal and the head of the report."""
        parts = [f"{self.label}: {self.measure} = {number(self.effect)}"]
        parts += [] if math.isnan(self.lo) else [f"95 % interval {self.interval}"]
        parts += [] if math.isnan(self.p) else [f"p {self.p_text}"]
        return ", ".join([*parts, f"n = {self.n}"]) + (f" ({self.note})" if self.note else "")


def number(value: float) -> str:
    """A number as a paper prints it: three digits, plain notation where it is short.

    Examples
    --------
    >>> number(0.0012), number(-1.234567), number(float("nan")), number(1234567.0)
    ('0.0012', '−1.23', '–', '1.23e+06')
    """
    if math.isnan(value):
        return "–"
    return f"{0.0 if abs(value) < _ROUNDING else value:.3g}".replace("-", "−")


def half_depth(result: xr.Dataset) -> int:
    """The recorded layer at half the depth of those recorded: fixed before any result is seen."""
    layers = result[LAYER].values
    return int(layers[(len(layers) - 1) // 2])


def held_out_finding(name: str, held_out: xr.Dataset) -> Finding:
    """The held-out response of a cross-validated ROI, as Hedges g."""
    return Finding(
        label=f"held-out response of the {name} ROI",
        measure="Hedges g",
        effect=float(held_out["es"]),
        lo=float(held_out["es_lo"]),
        hi=float(held_out["es_hi"]),
        p=float(held_out["p"]),
        p_floor=smallest_p(held_out),
        n=int(held_out["n_units"]),
        note=str(held_out.attrs.get("contrast", "")),
        headline=True,
    )


def layer_finding(
    label: str, measure: str, result: xr.Dataset, variable: str, *, headline: bool = False
) -> Finding:
    """A value at the half-depth layer, with its interval and its p, corrected over layers if it can be."""
    layer = half_depth(result)
    at = result.sel({LAYER: layer})
    p = next((float(at[key]) for key in ("p_adjusted", "p") if key in at), math.nan)
    return Finding(
        label=label,
        measure=measure,
        effect=float(at[variable]),
        lo=float(at.get(f"{variable}_lo", math.nan)),
        hi=float(at.get(f"{variable}_hi", math.nan)),
        p=p,
        p_floor=smallest_p(result),
        n=count_units(result),
        note=f"layer {layer}, half depth, fixed in advance",
        headline=headline,
    )


def smallest_p(result: xr.Dataset) -> float:
    """The smallest p that a result's permutations allow; 0 if it does not say how many there were."""
    n_permutations = int(result.attrs.get("n_permutations", 0))
    if not n_permutations:
        return 0.0
    is_exact = bool(result.attrs.get("exact", 0))
    return 1 / n_permutations if is_exact else 1 / (n_permutations + 1)


def count_units(result: xr.Dataset) -> int:
    """Number of units of inference behind a result, whether stored as variable, attribute or dim."""
    if "n_units" in result:
        return int(np.nanmax(result["n_units"].values))
    return int(result.attrs.get("n_units", result.sizes.get("unit", 0)))


def causal_findings(label: str, causal: xr.Dataset, perturbation: str, *, headline: str) -> list[Finding]:
    """The effect of one perturbation on each read-out, tested against its matched shams."""
    findings = []
    for readout in causal["readout"].values.astype(str):
        one = causal.sel(perturbation=perturbation, readout=readout)
        findings.append(
            Finding(
                label=f"{label}: change of {readout.replace('_', ' ')}",
                measure={"log_odds": "Δ bits", "surprisal": "Δ bits/token"}.get(readout, "Δ proportion"),
                effect=float(one["effect"]),
                lo=float(one["effect_lo"]),
                hi=float(one["effect_hi"]),
                p=float(one["p"]),
                p_floor=1 / (1 + int(np.isfinite(one["effect_sham"]).sum())),
                n=int(np.isfinite(one["score"].values).sum()),
                note=f"z = {number(float(one['z']))} against {one.sizes['sham']} shams",
                headline=readout == headline,
            )
        )
    return findings
