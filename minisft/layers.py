"""Linear, embedding and LayerNorm: torch's own layers, called with less overhead.

    y = W x + b            Linear
    y = wte[id]            Embedding
    y = (x - mean) / sqrt(var + eps) * weight + bias        LayerNorm

They compute what torch's layers compute and honour every hook; only the call is cheaper. A small
model calls 30 layers for each token that it generates, and `nn.Module.__call__` alone would take
about a tenth of that time.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as torch_module


class Module(nn.Module):
    """An nn.Module whose call goes straight to `forward` when no hook is set, on it or globally."""

    def __call__(self, *inputs, **named):
        hooked = (
            self._forward_pre_hooks or self._forward_hooks
            or self._backward_pre_hooks or self._backward_hooks
            or torch_module._global_forward_pre_hooks or torch_module._global_forward_hooks
            or torch_module._global_backward_pre_hooks or torch_module._global_backward_hooks
            or self._compiled_call_impl)
        call = super().__call__ if hooked else self.forward
        return call(*inputs, **named)


class Linear(Module, nn.Linear):
    """nn.Linear whose weight, still [out, in], is stored column by column.

    A product with a single row, which is what generation computes, reads it faster that way.
    """

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.weight.data = self.weight.data.T.contiguous().T

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)  # (..., in) -> (..., out)


class Embedding(Module, nn.Embedding):
    """nn.Embedding without its optional features."""

    def forward(self, ids):
        return torch.embedding(self.weight, ids)  # (...) -> (..., C)


class LayerNorm(Module, nn.LayerNorm):
    """nn.LayerNorm, over the last dimension."""

    def forward(self, x):
        return torch.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


def dropout(x, probability, training):
    """F.dropout, without a call where it would change nothing."""
    return F.dropout(x, probability) if training and probability else x
