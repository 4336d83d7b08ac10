"""Prefix tuning: P trainable keys and values in every layer, in front of those of the tokens.

    head_l = softmax(q [P_K ; K]^T / sqrt(D)) [P_V ; V]

with P_K and P_V (P, D) of their own for each head of each layer l. They lie in one matrix (P, 2 L
C): for each layer its keys, then its values, each of them head after head.

Write four short pieces. `PrefixCache.append` puts the prefix of a layer in front of new keys and
values, (B, H, T, D); an entry may be (1, H, P, D), for all rows of the batch, and nothing is kept.
`Prefix.entries` cuts the matrix `self.flat()` into [(keys, values)] of each layer, (1, H, P, D)
each. `Virtual.embed` moves real tokens to positions P, P + 1, ...; the positions it is given count
real tokens. `Virtual.trunk` widens a mask (..., T, S) of real tokens by P columns, in which every
token may look, and calls `self.begin(x, cache, mask)`; but where a cache has entries already, the
prefix is in it, and the base's own trunk goes on. A cache without entries is first made larger by
P, `cache.grow(P)`.

Check it: python lessons/check.py 15
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from minisft.model import GPT
from minisft.peft.prefix import activations


class PrefixCache:
    """Initial keys and values in every layer; each call of the model begins with them.

    entries: one (k, v) pair for each layer, each (1 or B, H, P, D).
    position: position of the first real token after the prefix (0 unless said otherwise).
    """

    def __init__(self, entries, position=0):
        self.entries, self.position = list(entries), position
        self.length = self.entries[0][0].shape[2]

    def append(self, layer, k, v):
        """k, v: (B, H, T, D) -> prefix and new ones, (B, H, P+T, D). The new ones are not kept."""
        raise NotImplementedError

    def advance(self, tokens):
        """The model calls this after each forward pass; a prefix does not grow."""


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
        raise NotImplementedError

    def trunk(self, x, cache=None, mask=None):
        """x (B, T, C) -> (B, T, C).

        mask: of real tokens, (B, 1, T, S). An empty cache is made larger by the virtual tokens.
        """
        raise NotImplementedError

    def head(self, x):
        return self.base.head(x)

    forward = GPT.forward


class Prefix(Virtual):
    """A model with a trainable prefix."""

    def __init__(self, base, config, ids=None):
        super().__init__(base, config.P)
        c = base.config
        like = {"dtype": base.wte.weight.dtype, "device": base.device}
        self.network = None
        if config.hidden:
            self.embedding = nn.Parameter(torch.empty(config.P, c.n_embd, **like).normal_())
            self.network = nn.Sequential(
                nn.Linear(c.n_embd, config.hidden, **like), nn.Tanh(),
                nn.Linear(config.hidden, 2 * c.n_layer * c.n_embd, **like))
        else:
            start = torch.empty(config.P, 2 * c.n_layer * c.n_embd, **like).normal_()
            if torch.is_tensor(ids):
                start = activations(base, ids)
            self.keys_values = nn.Parameter(start)

    def flat(self):
        """Keys and values of all layers: (P, 2 L C)."""
        return self.keys_values if self.network is None else self.network(self.embedding)

    def entries(self):
        """[(keys, values)] of each layer, each (1, H, P, D)."""
        raise NotImplementedError

    def begin(self, x, cache, mask):
        prefix = PrefixCache(self.entries(), self.P)
        if cache is not None:
            for layer, (k, v) in enumerate(prefix.entries):
                cache.append(layer, k, v)
            cache.length += self.P
        return self.base.trunk(x, prefix if cache is None else cache, mask)
