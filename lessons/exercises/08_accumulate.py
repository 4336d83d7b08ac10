"""Gradient accumulation: a step in parts, with exactly the gradient of one large batch.

    g = (1/n) sum over micro-batches of grad L        n = targets in the whole step

Parts have different numbers of targets, so a mean of their means is wrong: it makes a token in a
short answer count more than one in a long answer. `sft_loss(model, batch)` gives a part's summed
loss and its number of targets. Each part's backward pass adds to every `.grad`, and frees its
memory before the next part.

Write `accumulate_gradients`, which returns the mean loss and the number of targets of the whole
step. Token i is a target where loss_mask[:, i] is True and i > 0. With no target at all, loss and
gradient are zero. `dtype` can stay unused.

Check it: python lessons/check.py 8
"""

import torch

from minisft.loss import sft_loss


def accumulate_gradients(model, micro_batches, dtype=torch.float32):
    """Add the gradient of a step's mean loss to every `.grad`, one micro-batch after the other.

    dtype: of the forward pass; torch.bfloat16 uses autocast. Returns (mean loss, number of
    targets), both of the whole step. Only one micro-batch's activations are in memory at a time.
    """
    raise NotImplementedError
