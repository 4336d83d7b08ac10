"""An adapter: a narrow detour after a frozen layer, added to what the layer gives.

    z <- z + gelu(z W_d + b_d) W_u + b_u        W_d (C, m), W_u (m, C)

z is what the frozen layer gives, C wide; m is the bottleneck. GELU is the exact one, F.gelu. The
layer keeps `self.base` and the parameters `self.W_d` (m, C), `self.b_d`, `self.W_u` (C, m) and
`self.b_u`; weights are stored [out, in], as all here, in the type and on the device of the base's
weight. The weights start normal with standard deviation 1e-3 and the biases at zero, so that the
adapter changes almost nothing at first and still gets a gradient.

Write `__init__` and `forward`.

Check it: python lessons/check.py 14
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Adapted(nn.Module):
    """A linear layer whose result passes through an adapter: (..., in) -> (..., C)."""

    def __init__(self, base, bottleneck):
        # Stored [out, in], as all linear weights here.
        raise NotImplementedError

    def forward(self, x):
        raise NotImplementedError
