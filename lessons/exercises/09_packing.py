"""Packing: several documents share a row, and none of them notices.

    row         a a a a b b b . .        positions  0 1 2 3 0 1 2
    may look    a token sees the tokens of its own document up to itself, and nothing else

So logits and gradients are those that each document would have alone. `pack_rows(lengths,
block_size)` says which documents share a row, in their order. `pad` makes a Batch of rows, filled
up at the right.

Write `pack`, which returns a Batch: ids (B, T), loss_mask (B, T), the number of real tokens,
positions (B, T), mask (B, 1, T, T), True where a query may look. Nothing predicts the first token
of a document, so it is no target, whatever its own mask says. A padding slot must see at least one
slot, or its softmax is 0 / 0.

Check it: python lessons/check.py 9
"""

import torch

from minisft.batching import Batch, pack_rows, pad
from minisft.conversation import Rendered


def pack(examples, block_size):
    """A Batch of shared rows of at most block_size tokens, each example isolated."""
    raise NotImplementedError
