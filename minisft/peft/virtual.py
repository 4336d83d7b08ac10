"""Virtual tokens: P positions before the first token, in prefix and in prompt tuning.

Real tokens take positions P, P+1, ... Every token sees all P virtual ones, in packed rows too, so
the context is P tokens shorter. The method says what stands at the virtual positions: keys and
values in each layer, or embeddings at the bottom.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from minisft.model import GPT


class Virtual(nn.Module):
    """A model with P virtual positions, used like the model itself: embed, trunk, head."""

    def __init__(self, base, P):
        super().__init__()
        if not 1 <= P < base.config.block_size:
            raise ValueError(f"{P} virtual tokens leave no room in a context of "
                             f"{base.config.block_size}; take 1 to {base.config.block_size - 1}")
        self.base, self.P = base, P
        self.config = replace(base.config, block_size=base.config.block_size - P)

    wte = property(lambda self: self.base.wte)
    device = property(lambda self: self.base.device)

    def embed(self, ids, positions=None):
        """ids (B, T) -> (B, T, C); positions are those of real tokens, from 0."""
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)
        return self.base.embed(ids, positions + self.P)

    def trunk(self, x, cache=None, mask=None):
        """x (B, T, C) -> (B, T, C).

        mask: of real tokens, (B, 1, T, S). An empty cache is made larger by the virtual tokens.
        """
        if mask is not None:
            mask = F.pad(mask, (self.P, 0), value=True)  # (..., T, S) -> (..., T, P+S)
        if cache is not None and cache.length:
            return self.base.trunk(x, cache, mask)
        if cache is not None:
            cache.grow(self.P)
        return self.begin(x, cache, mask)

    def head(self, x):
        return self.base.head(x)

    forward = GPT.forward
