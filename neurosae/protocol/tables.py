"""What a protocol may say: one frozen model a table, one described field a key, nothing else allowed."""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neurosae.protocol.fields import (
    Columns,
    Correction,
    Count,
    Dose,
    Flag,
    Layer,
    Layers,
    Metric,
    Name,
    Permutations,
    PoolingText,
    Proportion,
    Readouts,
    Site,
    Sites,
    Text,
    WindowText,
)

_FEWEST_FOR_MIN_P = 9999
"""Permutations with which the smallest p of thousands of features still differ."""


class Table(BaseModel):
    """A table of a protocol: frozen, no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recording(Table):
    """[recording]: what is recorded, in one pass over the stimuli."""

    sites: Sites = Field(
        default=("resid_post",),
        description="Where in each block activations are kept; [] to keep the codes of dictionaries alone.",
    )
    layers: Layers = Field(default="all", description="Blocks recorded, counted from 0, or 'all'.")
    dictionaries: tuple[Text, ...] = Field(
        default=(),
        description="Dictionaries whose codes are kept: names, or folders as paths relative to the file.",
    )
    surprisal: Flag = Field(default=True, description="Whether the surprisal of each token is kept, in bits.")
    truncate: Literal["none", "left", "right"] = Field(
        default="none", description="End of too long texts that is cut; 'none' refuses them."
    )
    batch_tokens: Count = Field(default=1024, description="Most tokens in one batch, padding counted.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.sites and not self.dictionaries:
            raise ValueError("neither sites nor dictionaries are given; at least one of them is needed.")
        if len({*self.dictionaries}) < len(self.dictionaries):
            raise ValueError("dictionaries: a name occurs twice.")
        return self


class Responses(Table):
    """[responses]: how the tokens of a stimulus become one response."""

    window: WindowText = Field(
        default="all",
        description="Tokens used: all, first:5, last:1, centered:8, target, target:-2:2, span:0:20 "
        "(characters) or span:start_column:end_column.",
    )
    how: PoolingText = Field(
        default="mean", description="Pooling: mean, last, target, max, sum, rate, mean_active or topm:3."
    )


class Localizer(Table):
    """localize: which units of a contrast map form its region of interest."""

    fraction: Proportion | None = Field(default=None, description="Share of units selected, strongest first.")
    n: Count | None = Field(default=None, description="Number of units selected, strongest first.")
    q: Proportion | None = Field(default=None, description="Largest adjusted p of the units selected.")
    folds: Count | None = Field(
        default=None, ge=2, description="Folds of a held-out test; needs fraction. None if left out."
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [name for name in ("fraction", "n", "q") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of fraction, n and q is needed, not {found}.")
        if self.folds is not None and given != ["fraction"]:
            raise ValueError(f"folds need fraction, not {given[0]}.")
        return self


class ContrastPlan(Table):
    """[[contrasts]]: a comparison of conditions, unit by unit."""

    name: Name = Field(description="Name by which lesions, stimulations and results refer to it.")
    contrast: Text = Field(
        description="What is compared, such as 'A > B', '(A + B) > C' or 'A - 0.5*B - 0.5*C'."
    )
    test: Literal["auto", "welch", "pooled", "rank"] = Field(default="auto", description="Statistic.")
    unit: Text = Field(default="auto", description="Column that is the unit of inference.")
    nuisance: Columns = Field(default=(), description="Columns of numbers whose effect is removed.")
    correct: Correction = Field(
        default="fdr_bh",
        description="Correction for the number of tests; cluster and tfce run along layers of the residual "
        "stream, min_p needs 9999 permutations.",
    )
    n_permutations: Permutations = Field(default=999, description="Random relabelings behind every p.")
    site: Site | None = Field(default=None, description="Recorded site analysed; the first one if left out.")
    dictionary: Text | None = Field(
        default=None, description="Dictionary whose codes are analysed; the model's units if left out."
    )
    localize: Localizer | None = Field(default=None, description="Region of interest made from the map.")

    @model_validator(mode="after")
    def _correction_that_fits(self) -> Self:
        is_residual = self.dictionary is None and (self.site is None or self.site.startswith("resid"))
        if self.correct in ("cluster", "tfce") and not is_residual:
            where = f"site {self.site!r}" if self.dictionary is None else f"dictionary {self.dictionary!r}"
            raise ValueError(
                f"correct {self.correct!r} joins neighbouring layers of the residual stream, "
                f"not those of {where}. Use 'max_t'."
            )
        if self.correct == "min_p" and self.n_permutations < _FEWEST_FOR_MIN_P:
            raise ValueError(
                f"correct 'min_p' needs n_permutations = {_FEWEST_FOR_MIN_P} or more, "
                f"not {self.n_permutations}. Or use 'step_down'."
            )
        return self

    @model_validator(mode="after")
    def _no_held_out_nuisance(self) -> Self:
        if self.nuisance and self.localize is not None and self.localize.folds is not None:
            raise ValueError(
                "localize.folds measures the region without removing nuisance, and would count its effect. "
                "Leave out folds or nuisance."
            )
        return self


class _Named(Table):
    """An analysis of a column of the stimulus table, named after it unless named."""

    name: Name = Field(default="", description="Name of the result; made of column and index if left out.")
    condition: Text = Field(default="condition", description="Column that holds the classes.")
    site: Site | None = Field(default=None, description="Recorded site analysed; the first one if left out.")
    dictionary: Text | None = Field(
        default=None, description="Dictionary whose codes are analysed; the model's units if left out."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_name(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "name" in given:
            return given
        defaults = {key: field.default for key, field in cls.model_fields.items()}
        parts = [str({**defaults, **given}[key]) for key in ("condition", "index") if key in defaults]
        return {**given, "name": re.sub(r"\W+", "-", "_".join(parts), flags=re.ASCII).strip("-_")[:64] or "x"}


class RsaPlan(_Named):
    """[[rsa]]: whether stimuli of one class evoke similar patterns."""

    index: Literal["CDI", "CMI", "TDI", "COH"] = Field(default="CDI", description="Category index.")
    metric: Metric = Field(default="auto", description="Dissimilarity; auto is the one of the index.")
    method: Literal["rho-a", "spearman", "corr", "cosine", "tau-a"] = Field(
        default="rho-a", description="Comparison with the model RDM."
    )
    unit: Text = Field(default="auto", description="Column that is the unit of inference.")
    n_permutations: Permutations = Field(default=999, description="Permutations of the labels.")


class SelectivityPlan(_Named):
    """[[selectivity]]: which classes single units prefer, and how much."""

    index: Literal["maxshare", "morcos", "auroc", "dprime", "eta2"] = Field(
        default="maxshare", description="Selectivity index."
    )
    rectify: Flag = Field(default=False, description="Whether negative responses count as 0.")
    unit: Text = Field(default="auto", description="Column that is the unit of inference.")
    n_permutations: Permutations = Field(default=999, description="Permutations of the labels.")


class DecodingPlan(_Named):
    """[[decoding]]: whether the class can be read out of the pattern of a stimulus not trained on."""

    groups: Text = Field(
        default="item", description="Column whose rows stay in one fold; the unit of inference if no items."
    )
    n_permutations: Permutations = Field(default=200, description="Permutations of the labels.")
    select: Count | None = Field(
        default=None, description="Units selected inside each training fold; all if left out."
    )


class LesionPlan(Table):
    """lesion: units that are silenced."""

    roi: Name = Field(description="Name of a contrast with localize.")
    how: Literal["mean", "zero"] = Field(default="mean", description="Value that replaces the units' own.")


class StimulationPlan(Table):
    """stimulation: a direction that is added."""

    contrast: Name = Field(description="Name of the contrast whose direction is added.")
    layer: Layer = Field(description="Block at which it is added, counted from 0.")
    dose: tuple[Dose, ...] = Field(
        min_length=2, description="Multiples of the direction's reference size; 0 and another of at most 1."
    )

    @model_validator(mode="after")
    def _with_slope(self) -> Self:
        small = {dose for dose in self.dose if abs(dose) <= 1}
        if len({*self.dose}) < len(self.dose) or 0 not in small or len(small) < 2:
            raise ValueError(
                f"doses {list(self.dose)} must differ and hold 0 and another of at most 1 in size, from "
                "which the slope is taken."
            )
        return self


class CausalPlan(Table):
    """[[causal]]: what the model still does under a lesion or stimulation."""

    name: Name = Field(description="Name of the result.")
    lesion: LesionPlan | None = Field(default=None, description="The lesion; or stimulation.")
    stimulation: StimulationPlan | None = Field(default=None, description="The stimulation; or lesion.")
    stimuli: Path = Field(description="Stimuli tested, others than those that select; relative to the file.")
    readouts: Readouts = Field(default=("minimal_pair", "surprisal"), description="What is measured.")
    controls: Count = Field(default=99, description="Matched sham perturbations beside it.")
    max_pairs: Count | None = Field(default=None, description="Most pairs tested; all if left out.")

    @model_validator(mode="after")
    def _one_perturbation(self) -> Self:
        if (self.lesion is None) == (self.stimulation is None):
            found = "neither" if self.lesion is None else "both"
            raise ValueError(f"exactly one of lesion and stimulation is needed, not {found}.")
        return self
