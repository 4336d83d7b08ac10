"""LoRA: a frozen linear layer and, beside it, a product of two thin matrices that learns.

    h = W_0 x + (alpha / r) B A x        W_0 (out, in) frozen;  A (r, in), B (out, r) trained

B is zero at the start, so nothing has changed yet. A starts uniform in +-1 / sqrt(in), as in the
authors' code. The paper writes dW = B A. The notes write dW = A B^T with both matrices [H, R] and
no scale: their A is the paper's B, their B^T the paper's A, and the scale is 1. With sqrt_r the
scale is alpha / sqrt(r), so that the size of the change depends less on the rank (Kalajdzievski
2023).

Source: Hu et al. 2021 (LoRA), section 4.1. Notes: 低秩适配 (low-rank adaptation).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from minisft.checks import check_types
from minisft.layers import dropout
from minisft.peft.layers import LINEAR_LAYERS, check_targets, wrap_layers


@dataclass(frozen=True)
class LoRAConfig:
    """targets: ends of names of linear layers; r: rank; alpha: see above; dropout: on A's input."""

    lr: ClassVar[float] = 0.005  # default of the highest learning rate
    targets: tuple = LINEAR_LAYERS
    r: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    sqrt_r: bool = False

    def __post_init__(self):
        check_types(self)
        check_targets(self.targets)
        if self.r < 1:
            raise ValueError(f"the rank r must be at least 1, got {self.r}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be above 0, got {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")

    @property
    def scale(self):
        return self.alpha / (math.sqrt(self.r) if self.sqrt_r else self.r)

    def wrap_model(self, model, tokenizer=None):
        wrap_layers(model, self.targets, lambda linear: LoRALinear(linear, self))
        return model


class LoRALinear(nn.Module):
    """A linear layer with a low-rank change beside it: (..., in) -> (..., out)."""

    def __init__(self, base, config):
        super().__init__()
        self.base, self.scale, self.dropout = base, config.scale, config.dropout
        base.requires_grad_(False)  # W_0 is frozen, and so is its bias

        out, inputs = base.weight.shape
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        bound = inputs ** -0.5
        self.A = nn.Parameter(torch.empty(config.r, inputs, **like).uniform_(-bound, bound))
        self.B = nn.Parameter(torch.zeros(out, config.r, **like))

    def forward(self, x):
        h = self.base(x)  # W_0 x
        Ax = F.linear(dropout(x, self.dropout, self.training), self.A)  # (..., in) -> (..., r)
        return h + self.scale * F.linear(Ax, self.B)  # + (alpha / r) B A x: (..., r) -> (..., out)

    @torch.no_grad()
    def merged_weight(self):
        """W_0 + (alpha / r) B A, summed in float32 at least: (out, in)."""
        W = self.base.weight
        exact = torch.promote_types(W.dtype, torch.float32)
        return (W.to(exact) + self.scale * self.B.to(exact) @ self.A.to(exact)).to(W.dtype)
