"""Prompt tuning: P trainable rows in front of the embedded tokens, and nothing else.

    x = [ E_P + wpe[0..P-1] ; wte[ids] + wpe[P..] ]        E_P (P, C), the only parameters

Write `begin`, which `trunk` calls with embedded tokens x (B, T, C) at positions P, P + 1, ... It
puts `self.rows`, E_P, in front, with positions of their own, lets the base's trunk compute, and
returns (B, T, C): the rows are no tokens, and nothing is predicted from them. `dropout(first,
self.config.dropout, self.training)` acts on the rows as it does on all embeddings; it is 0 here.

`mask`, (..., T, P+S) or None, says where the tokens may look; the rows need lines of their own in
it, (..., P+T, P+S): each row sees itself and the rows before it. A cache counts the rows as
positions when the trunk has run; its `position` must count real tokens only.

Check it: python lessons/check.py 16
"""

import torch
from torch import nn

from minisft.layers import dropout
from minisft.peft.virtual import Virtual


class Prompt(Virtual):
    """A model with trainable rows before its embeddings. rows: (P, C)."""

    def __init__(self, base, rows):
        super().__init__(base, len(rows))
        self.rows = nn.Parameter(rows)

    def begin(self, x, cache, mask):
        raise NotImplementedError
