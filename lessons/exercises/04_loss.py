"""The loss: cross-entropy on supervised positions, as a sum and a count.

    L = - sum over targets i of log softmax(z_{i-1})[id_i]          n = number of targets

The token at place i is predicted at place i - 1. Token i is a target where `batch.loss_mask[:, i]`
is True; nothing predicts the first token of a row. The sum is not divided: the training loop
divides once, by the number of targets in the whole step.

`batch` has ids (B, T), loss_mask (B, T), positions and mask; the last two are None or belong into
`model.embed(ids, positions)` and `model.trunk(x, mask=mask)`. `model.head` turns (..., C) into
logits (..., V). With no target at all the loss is a zero whose gradient is zero.

Write `sft_loss`, which returns the sum, a tensor of no dimension, and n, an int.

Check it: python lessons/check.py 4
"""

import math

import torch
import torch.nn.functional as F


def sft_loss(model, batch):
    """Summed loss and the number of targets of a batch.

    batch: see minisft.batching.Batch. Returns (0-d tensor, int). With no target at all the loss is
    a zero that is still connected to the parameters: its gradient is zero, not missing and not NaN.
    """
    raise NotImplementedError
