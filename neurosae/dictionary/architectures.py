"""Autoencoders to train, by recipe: those of sae-lens, with the parts that it lacks."""

from collections.abc import Mapping
from typing import Any

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from torch import Tensor

from neurosae.dictionary.remedies import ghost_grad_loss
from neurosae.protocol.recipe import SPARSE, Recipe

CLASSES: Mapping[str, tuple[type, type]] = {
    "standard": (StandardTrainingSAE, StandardTrainingSAEConfig),
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
    "matryoshka": (MatryoshkaBatchTopKTrainingSAE, MatryoshkaBatchTopKTrainingSAEConfig),
    "jumprelu": (JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig),
    "gated": (GatedTrainingSAE, GatedTrainingSAEConfig),
}
"""Architecture → autoencoder and configuration of sae-lens."""


class Scheduled:
    """Adds the schedule of k, Ghost Grads and tied weights to an autoencoder that is trained."""

    recipe: Recipe

    def training_forward_pass(self: Any, step_input: TrainStepInput) -> TrainStepOutput:
        """One forward pass, with as many features active as the schedule says."""
        k = self.recipe.k_at(step_input.n_training_steps)
        if self.recipe.architecture in SPARSE:
            self.activation_fn.k = round(k) if self.recipe.architecture == "topk" else k
        if self.recipe.tied:
            self.W_enc.data = self.W_dec.data.T.contiguous()
        return super().training_forward_pass(step_input)  # type: ignore[misc]

    def calculate_aux_loss(
        self: Any, step_input: TrainStepInput, feature_acts: Tensor, hidden_pre: Tensor, sae_out: Tensor
    ) -> dict[str, Tensor]:
        """The losses of the architecture, and that of Ghost Grads where it is the remedy."""
        losses = dict(super().calculate_aux_loss(step_input, feature_acts, hidden_pre, sae_out))  # type: ignore[misc]
        if self.recipe.remedy == "ghost_grads" and step_input.dead_neuron_mask is not None:
            mse = (sae_out - step_input.sae_in).pow(2).sum(dim=-1).mean()
            pre = self.pre_activation(step_input.sae_in)
            losses["ghost_grads"] = self.recipe.remedy_weight * ghost_grad_loss(
                step_input.sae_in, sae_out, pre, self.W_dec, step_input.dead_neuron_mask, mse
            )
        return losses

    def pre_activation(self: Any, rows: Tensor) -> Tensor:
        """Pre-activations whose gradient reaches the encoder alone, not the bias that is taken off first."""
        centred = rows - self.b_dec.detach() if self.cfg.apply_b_dec_to_input else rows
        return centred @ self.W_enc + self.b_enc


def autoencoder(recipe: Recipe, d_in: int, *, device: str = "cpu") -> Any:
    """A fresh autoencoder of sae-lens for a recipe, its weights drawn from the recipe's seed."""
    base, config = CLASSES[recipe.architecture]
    kind = type(f"Scheduled{base.__name__}", (Scheduled, base), {"recipe": recipe})
    options = {
        "d_in": d_in,
        "d_sae": recipe.width,
        "device": device,
        "normalize_activations": "expected_average_only_in" if recipe.normalize else "none",
        "apply_b_dec_to_input": recipe.pre_bias,
        **_options(recipe),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return kind(config(**options))


def _options(recipe: Recipe) -> dict[str, object]:
    n_rising = int(recipe.penalty_warm_up * recipe.n_steps)
    penalty = {"l1_coefficient": recipe.l1, "l1_warm_up_steps": n_rising}
    weight = recipe.remedy_weight if recipe.remedy == "auxk" else 0.0
    sparse = {"k": recipe.k, "aux_loss_coefficient": weight}
    own: dict[str, dict[str, object]] = {
        "standard": dict(penalty),
        "gated": dict(penalty),
        "jumprelu": {"l0_coefficient": recipe.l0, "l0_warm_up_steps": n_rising},
        "topk": {**sparse, "k": round(recipe.k), "use_sparse_activations": False},
        "batchtopk": {**sparse, "topk_threshold_lr": 0.03},
        "matryoshka": {
            **sparse,
            "topk_threshold_lr": 0.03,
            "matryoshka_widths": [*recipe.levels, recipe.width],
        },
    }
    return own[recipe.architecture]
