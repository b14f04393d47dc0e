"""What is done for features that have stopped firing: parts that any architecture can be given.

AuxK is part of the Top-K architectures of sae-lens. Ghost Grads and resampling are written out here.
"""

import torch
from torch import Tensor

LARGEST_EXPONENT = 20.0  # exp of more overflows when squared in float32


def ghost_grad_loss(
    x: Tensor, rebuilt: Tensor, pre: Tensor, decoder: Tensor, dead: Tensor, mse: Tensor
) -> Tensor:
    """A second loss that asks dead features to rebuild what the living leave over.

    ghost = exp(pre[dead]) @ decoder[dead], scaled in each row to half the length of the residual
    x - rebuilt; loss = |ghost - residual|^2, scaled to the size of the main loss. Residual and both scales
    are constants to the gradient, which reaches the encoder and decoder rows of dead features only.

    Parameters
    ----------
    x : (row, d) what is to be rebuilt
    rebuilt : (row, d) what the living features make of it
    pre : (row, feature) pre-activations
    decoder : (feature, d)
    dead : (feature,) bool
    mse : the main loss, mean over rows of the summed squares

    Returns
    -------
    Tensor
        A scalar; 0 if no feature is dead.

    Source
    ------
    Jermyn & Templeton 2024, Transformer Circuits, January update ("Ghost Grads").

    Examples
    --------
    >>> one = torch.ones(1, 2)
    >>> pre, decoder = torch.zeros(1, 2, requires_grad=True), torch.eye(2)
    >>> loss = ghost_grad_loss(one, 0 * one, pre, decoder, torch.tensor([False, True]), torch.tensor(2.0))
    >>> round(loss.item(), 4)
    2.0
    """
    if not bool(dead.any()):
        return rebuilt.new_zeros(())
    residual = (x - rebuilt).detach()
    ghost = torch.exp(pre[:, dead].clamp(max=LARGEST_EXPONENT)) @ decoder[dead]
    length = residual.norm(dim=-1, keepdim=True) / (2 * ghost.norm(dim=-1, keepdim=True) + 1e-6)
    loss = (ghost * length.detach() - residual).pow(2).sum(dim=-1).mean()
    return loss * (mse / (loss + 1e-6)).detach()


def resample(
    encoder: Tensor,
    bias: Tensor,
    decoder: Tensor,
    dead: Tensor,
    rows: Tensor,
    residual: Tensor,
    generator: torch.Generator,
) -> int:
    """Give dead features the direction of rows that are badly rebuilt, in place.

    Rows are drawn with a probability proportional to their squared loss; the decoder row becomes the
    direction of the residual, the encoder column the same at a fifth of the mean length of living ones, the
    bias 0.

    Parameters
    ----------
    encoder, bias, decoder : (d, feature), (feature,), (feature, d), changed
    dead : (feature,) bool
    rows, residual : (row, d) activations and what is left of them
    generator : of the draw

    Returns
    -------
    int
        How many features were changed.

    Source
    ------
    Bricken et al. 2023, Transformer Circuits (neuron resampling).
    """
    n_dead = int(dead.sum())
    if not n_dead or bool(dead.all()):
        return 0
    weight = residual.pow(2).sum(dim=-1).pow(2)
    drawn = torch.multinomial(weight, n_dead, replacement=True, generator=generator)
    direction = torch.nn.functional.normalize(residual[drawn], dim=-1)
    with torch.no_grad():
        decoder[dead] = direction * decoder[~dead].norm(dim=-1).mean()
        encoder[:, dead] = (direction * 0.2 * encoder[:, ~dead].norm(dim=0).mean()).T
        bias[dead] = 0
    return n_dead
