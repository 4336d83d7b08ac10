"""Cross-entropy on supervised positions only; the head runs on those rows and no others.

    L = - sum over targets i of log softmax(z_{i-1})[id_i]          n = number of targets

The sum and the count are returned apart. The loop divides once, by the count of the *whole* step,
so that ten micro-batches give the gradient of one large batch. The head turns the channels of each
position into as many logits as there are tokens, 50,257 in GPT-2. Most of a conversation is prompt,
so to leave out the prompt's positions saves much time and memory.

Other libraries give positions without a target the label -100, which their loss ignores; here the
loss mask says it.

Notes: 优化设置 (optimization settings): the loss counts the output only.
"""

import torch
import torch.nn.functional as F


def sft_loss(model, batch):
    """Summed loss and the number of targets of a batch.

    batch: see minisft.batching.Batch. Returns (0-d tensor, int). With no target at all the loss is
    a zero that is still connected to the parameters: its gradient is zero, not missing and not NaN.
    """
    x = model.trunk(model.embed(batch.ids, batch.positions), mask=batch.mask)  # (B, T) -> (B, T, C)
    supervised = batch.loss_mask[:, 1:]  # the token at i is predicted at i - 1
    x = x[:, :-1][supervised]  # (B, T, C) -> (n, C)
    targets = batch.ids[:, 1:][supervised]  # (B, T) -> (n,)
    logits = model.head(x)  # (n, C) -> (n, V)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # sum in float32 at least
    return F.cross_entropy(logits, targets, reduction="sum"), targets.numel()
