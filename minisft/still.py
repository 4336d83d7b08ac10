"""Rows of the embedding that keep still: those of tokens that the tuning data never hold.

    theta <- theta - lr m_hat / (sqrt(v_hat) + eps)        Adam's step
    g = c at every step:   m_hat = c,  sqrt(v_hat) = |c|,  so the step is lr, however small c is

The head is tied to the embedding. So in full tuning every row gets a gradient from the softmax. For
a token that the data never hold it is tiny, and it has the same direction at every step: it makes
the token less likely everywhere. Adam divides it by its own size. Such a row then moves further
than the rows that are used, and the model unlearns the words that it is not shown.

Here the gradient of these rows is zero, so they count in no moment and no norm. As the embedding
then has no weight decay either, Adam's step for these rows is exactly zero. Methods such as LoRA
freeze the embedding and need none of this.

Notes: 优化设置 (optimization settings). Source of the formula: Kingma and Ba 2015 (Adam), section
2.1: the size of a step is about lr, whatever the scale of the gradient.
"""

from contextlib import contextmanager

import torch


def unseen(rows, examples):
    """The ids below `rows` that no rendered example holds.

    >>> from minisft.conversation import Rendered
    >>> unseen(5, [Rendered([1, 3, 1], [0, 1, 1])])
    (0, 2, 4)
    """
    seen = {token for example in examples for token in example.ids}
    return tuple(token for token in range(rows) if token not in seen)


@contextmanager
def keep_still(weight, ids):
    """Within this block every gradient of a matrix is zero in the rows `ids`.

    It is set to zero each time that a backward pass has added to it, so the sum over micro-batches
    is right in all other rows. After the block, the weight is as before it.
    """
    rows = torch.tensor(ids, dtype=torch.int64, device=weight.device)

    def clear(weight):
        weight.grad.index_fill_(0, rows, 0.0)

    hook = weight.register_post_accumulate_grad_hook(clear)
    try:
        yield
    finally:
        hook.remove()
