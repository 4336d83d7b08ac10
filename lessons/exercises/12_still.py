"""Keeping still: rows of the embedding whose tokens the tuning data never hold do not move.

    g = c at every step:   m_hat = c,  sqrt(v_hat) = |c|,  so Adam's step is lr, however small c is

The head is tied to the embedding, so in full tuning every row gets a gradient from the softmax. For
a token that the data never hold it is tiny and always points the same way, and Adam divides it by
its own size. Such a row would move further than the rows that are used. So its gradient is set to
zero.

Write `unseen`, the ids below `rows` that no example holds, in their order, and `keep_still`, within
which every gradient of the matrix is zero in the rows `ids`, after every backward pass that has
added to it. The weight itself is not changed, and after the block all is as before.

Check it: python lessons/check.py 12
"""

from contextlib import contextmanager

import torch


def unseen(rows, examples):
    """The ids below `rows` that no rendered example holds.

    >>> from minisft.conversation import Rendered
    >>> unseen(5, [Rendered([1, 3, 1], [0, 1, 1])])
    (0, 2, 4)
    """
    raise NotImplementedError


@contextmanager
def keep_still(weight, ids):
    """Within this block every gradient of a matrix is zero in the rows `ids`.

    It is set to zero each time that a backward pass has added to it, so the sum over micro-batches
    is right in all other rows. After the block, the weight is as before it.
    """
    raise NotImplementedError
