"""Gradient clipping by global norm: a single bad batch cannot ruin the model.

    g <- g * min(1, c / ||g||)        ||g||^2 = sum over all parameters of ||g_p||^2

All gradients shrink by the same factor, so the step keeps its direction.

Notes: 优化设置 (optimization settings). Source: Pascanu et al. 2013, section 3.2.
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
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, got {max_norm}")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if norm > max_norm:
        torch._foreach_mul_(gradients, max_norm / norm)
    return norm
