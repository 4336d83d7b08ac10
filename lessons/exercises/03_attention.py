"""Causal attention: every token takes in what stands before it, weighted by how well it fits.

    softmax(Q K^T / sqrt(D) + mask) V            mask: 0 where a query may look, else -infinity

x is (B, T, C). `self.c_attn(x)` holds queries, keys and values side by side, (B, T, 3 C); each is
cut into `self.n_head` heads of D = C / H. A cache, if there is one, takes the new keys and values
and returns all so far, (B, H, S, D). Then the T queries are the last of S places. `mask` is bool,
(T, S) or broadcastable to (B, H, T, S), True where a query may look; without one each token sees
itself and all before it. `self.c_proj` mixes the heads at the end. `self.dropout` acts on the
weights and on the result; it is 0 here.

Write `forward`.

Check it: python lessons/check.py 3
"""

import math

import torch
import torch.nn.functional as F

from minisft.layers import Linear, Module, dropout


class Attention(Module):
    """Causal multi-head self-attention with one fused projection for queries, keys and values."""

    def __init__(self, config, layer):
        super().__init__()
        self.n_head, self.layer, self.dropout = config.n_head, layer, config.dropout
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = Linear(config.n_embd, config.n_embd)

    def forward(self, x, cache=None, mask=None):
        raise NotImplementedError
