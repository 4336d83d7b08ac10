"""Adapters: a small bottleneck network after each sub-layer, before its result is added to the stream.

    z <- z + gelu(z W_d + b_d) W_u + b_u        W_d (C, m), W_u (m, C)        then   x + z

One follows the attention's projection, one the feed-forward's, in every block. W_d and W_u start with std 1e-3 and
b_d, b_u at zero, so that an adapter begins as almost nothing. The LayerNorms can be trained along with them, which
the authors do; they are a strong arm by themselves.

In GPT-2 the LayerNorm stands before a sub-layer, not after the residual add as in the authors' BERT; the adapter's
place is the same, at the end of the sub-layer. Source: Houlsby et al. 2019, section 2. Notes: 适配器 (adapters).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from minisft.model import LayerNorm
from minisft.peft.layers import check_targets, wrap_layers

SUBLAYER_ENDS = ("attn.c_proj", "mlp.c_proj")


@dataclass(frozen=True)
class AdapterConfig:
    """bottleneck: m, its width; layer_norms: train the model's LayerNorms too; targets: the layers they follow."""

    lr: ClassVar[float] = 0.01  # highest learning rate that suits it
    bottleneck: int = 16
    layer_norms: bool = False
    targets: tuple = SUBLAYER_ENDS

    def __post_init__(self):
        check_targets(self.targets)
        if self.bottleneck < 1:
            raise ValueError(f"the bottleneck must be at least 1 wide, got {self.bottleneck}")

    def wrap_model(self, model, tokenizer=None):
        wrap_layers(model, self.targets, lambda linear: Adapted(linear, self.bottleneck))
        if self.layer_norms:
            wrap_layers(model, ("ln_1", "ln_2", "ln_f"), TunedLayerNorm)
        return model


class Adapted(nn.Module):
    """A linear layer, its own result passed on through an adapter: (..., in) -> (..., C)."""

    def __init__(self, base, bottleneck):
        super().__init__()
        C, like = base.weight.shape[0], {"dtype": base.weight.dtype, "device": base.weight.device}
        self.base = base
        self.W_d = nn.Parameter(torch.empty(bottleneck, C, **like).normal_(std=1e-3))  # stored [out, in], as all are
        self.b_d = nn.Parameter(torch.zeros(bottleneck, **like))
        self.W_u = nn.Parameter(torch.empty(C, bottleneck, **like).normal_(std=1e-3))
        self.b_u = nn.Parameter(torch.zeros(C, **like))

    def forward(self, x):
        z = self.base(x)
        return z + F.linear(F.gelu(F.linear(z, self.W_d, self.b_d)), self.W_u, self.b_u)  # (..., C) -> (..., C)


class TunedLayerNorm(LayerNorm):
    """A LayerNorm that is trained, beside the one that it began as."""

    def __init__(self, base):
        super().__init__(base.normalized_shape, base.eps, device=base.weight.device, dtype=base.weight.dtype)
        self.load_state_dict(base.state_dict())
        self.base = base
