"""LoRA: a frozen linear layer and, beside it, a product of two thin matrices that learns.

    h = W_0 x + (alpha / r) B A x        W_0 (out, in) frozen;  A (r, in), B (out, r) trained

B is zero at the start, so nothing has changed yet. A starts uniform in +-1 / sqrt(in): if it were
zero too, neither would ever get a gradient. `config` has r, alpha and dropout (0 here). The layer
keeps `self.base`, the frozen layer, `self.scale`, `self.dropout`, and the parameters `self.A` and
`self.B`, in the type and on the device of the base's weight.

Write `__init__`, `forward`, and `merged_weight`, the weight (out, in) of one ordinary layer that
does the same. It changes nothing.

Check it: python lessons/check.py 13
"""

import torch
import torch.nn.functional as F
from torch import nn

from minisft.layers import dropout


class LoRALinear(nn.Module):
    """A linear layer with a low-rank change beside it: (..., in) -> (..., out)."""

    def __init__(self, base, config):
        raise NotImplementedError

    def forward(self, x):
        raise NotImplementedError

    @torch.no_grad()
    def merged_weight(self):
        """W_0 + (alpha / r) B A, summed in float32 at least: (out, in)."""
        raise NotImplementedError
