"""Gradient clipping: no single bad batch may ruin the model.

    g <- g * min(1, c / ||g||)        ||g||^2 = sum over all parameters of ||g_p||^2

All gradients shrink by one common factor, so the step keeps its direction. Gradients whose norm is
at most c stay as they are.

Write `clip_grad_norm`, which changes every `.grad` in place and returns the norm before clipping. A
parameter whose `.grad` is None is skipped; if all are, the norm is a zero. c must be above 0, or
else ValueError.

Check it: python lessons/check.py 5
"""

import torch


@torch.no_grad()
def clip_grad_norm(parameters, max_norm):
    """Scale gradients in place so that the norm of all of them together is at most `max_norm`.

    parameters: iterable of tensors; those without a gradient are skipped. Returns the norm before
    clipping, a 0-d tensor. ValueError unless max_norm > 0.

    >>> w = torch.zeros(2, requires_grad=True); w.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm([w], max_norm=2.5), w.grad
    (tensor(5.), tensor([1.5000, 2.0000]))
    """
    raise NotImplementedError
