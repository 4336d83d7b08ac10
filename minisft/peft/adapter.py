"""Adapters: a small bottleneck network after each sub-layer, before the residual add.

    z <- z + gelu(z W_d + b_d) W_u + b_u        W_d (C, m), W_u (m, C)        then   x + z

In every block one adapter follows the attention's projection and one the feed-forward layer's. W_d
and W_u start with std 1e-3, b_d and b_u at zero, so that an adapter changes almost nothing at
first. The LayerNorms can be trained along with them, as the authors do.

In GPT-2 the LayerNorm stands before a sub-layer, and not after the residual add as in the authors'
BERT. The adapter's place is the same, at the end of the sub-layer.

Source: Houlsby et al. 2019, section 2. Notes: 适配器 (adapters).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from minisft.checks import check_types
from minisft.layers import LayerNorm
from minisft.peft.layers import check_targets, wrap_layers

SUBLAYER_ENDS = ("attn.c_proj", "mlp.c_proj")


@dataclass(frozen=True)
class AdapterConfig:
    """bottleneck: m, the width; layer_norms: train them too; targets: the layers they follow."""

    lr: ClassVar[float] = 0.01  # default of the highest learning rate
    bottleneck: int = 16
    layer_norms: bool = False
    targets: tuple = SUBLAYER_ENDS

    def __post_init__(self):
        check_types(self)
        check_targets(self.targets)
        if self.bottleneck < 1:
            raise ValueError(f"the bottleneck must be at least 1 wide, got {self.bottleneck}")

    def wrap_model(self, model, tokenizer=None):
        wrap_layers(model, self.targets, lambda linear: Adapted(linear, self.bottleneck))
        if self.layer_norms:
            wrap_layers(model, ("ln_1", "ln_2", "ln_f"), TunedLayerNorm)
        return model


class Adapted(nn.Module):
    """A linear layer whose result passes through an adapter: (..., in) -> (..., C)."""

    def __init__(self, base, bottleneck):
        super().__init__()
        self.base = base
        base.requires_grad_(False)  # only the adapter is trained

        C, like = base.weight.shape[0], {"dtype": base.weight.dtype, "device": base.weight.device}
        # Stored [out, in], as all linear weights here.
        self.W_d = nn.Parameter(torch.empty(bottleneck, C, **like).normal_(std=1e-3))
        self.b_d = nn.Parameter(torch.zeros(bottleneck, **like))
        self.W_u = nn.Parameter(torch.empty(C, bottleneck, **like).normal_(std=1e-3))
        self.b_u = nn.Parameter(torch.zeros(C, **like))

    def forward(self, x):
        z = self.base(x)
        narrow = F.gelu(F.linear(z, self.W_d, self.b_d))  # (..., C) -> (..., m)
        return z + F.linear(narrow, self.W_u, self.b_u)  # (..., m) -> (..., C)


class TunedLayerNorm(LayerNorm):
    """A trained copy of a LayerNorm, which is kept beside it."""

    def __init__(self, base):
        super().__init__(base.normalized_shape, base.eps,
                         device=base.weight.device, dtype=base.weight.dtype)
        self.load_state_dict(base.state_dict())
        self.base = base
