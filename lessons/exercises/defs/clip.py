"""Gradient clipping: no single bad batch may ruin the model.

    g <- g * min(1, c / ||g||)        ||g||^2 = sum over all parameters of ||g_p||^2

All gradients shrink by one common factor, so the step keeps its direction. Gradients whose norm is
at most c stay as they are.

Write `clip_grad_norm`, which changes every `.grad` in place and returns the norm before clipping. A
parameter whose `.grad` is None is skipped; if all are, the norm is a zero. c must be above 0, or
else ValueError.
"""

import torch

from lessons.checking.exercise import Exercise, Mistake, Variant
from lessons.checking.probes import normal

CLIP = "minisft.optim.clip:clip_grad_norm"


def cases(rng):
    """Norms above and below the threshold, several sizes, a frozen parameter, no gradient at all"""
    def case(shapes, share, frozen=()):
        grads = [None if i in frozen else normal(rng, *shape, std=rng.uniform(0.5, 3))
                 for i, shape in enumerate(shapes)]
        norm = sum(float((g ** 2).sum()) for g in grads if g is not None) ** 0.5
        return {"grads": grads, "max_norm": norm * share if norm else 1.0}

    return [case([(2,)], 0.5), case([(2,)], 3.0), case([(3,), (2, 2)], 0.3),
            case([(3,), (2, 2)], 0.9), case([(2,), (3, 2), (4,)], 0.4, frozen={1}),
            case([(2,)], 1.0, frozen={0}),
            {"grads": [normal(rng, 2)], "max_norm": 0.0},
            {"grads": [normal(rng, 3)], "max_norm": -1.0}]


def run(code, grads, max_norm):
    parameters = [torch.zeros(2 if g is None else g.shape).requires_grad_() for g in grads]
    for parameter, g in zip(parameters, grads):
        parameter.grad = None if g is None else g.clone()
    try:
        norm = code.clip_grad_norm(iter(parameters), max_norm)
    except ValueError:
        norm = "ValueError"
    return {"clip_grad_norm(parameters, max_norm)": float(norm) if norm != "ValueError" else norm,
            "every .grad afterwards ": [parameter.grad for parameter in parameters]}


def oracle(grads, max_norm):
    """Sums over all numbers, one after the other."""
    numbers = [x for g in grads if g is not None for x in g.flatten().tolist()]
    norm = sum(x * x for x in numbers) ** 0.5
    factor = max_norm / norm if norm > max_norm > 0 else 1.0
    return {"clip_grad_norm(parameters, max_norm)": norm if max_norm > 0 else "ValueError",
            "every .grad afterwards ": [None if g is None else g * factor for g in grads]}


NORM = "norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))"
CUT = "    if norm > max_norm:\n        torch._foreach_mul_(gradients, max_norm / norm)\n"
SKIP = "gradients = [p.grad for p in parameters if p.grad is not None]"

EXERCISE = Exercise(
    name="clip", doc=__doc__, targets=(CLIP,), minutes=10,
    read="Pascanu et al. 2013, section 3.2",
    call="set every .grad; norm = clip_grad_norm(parameters, max_norm)",
    cases=cases, run=run, oracle=oracle,
    question="Two parameters have gradients of norm 3 and 4. What is the norm of both together?",
    pseudocode="""
        refuse a threshold that is not above 0
        collect the gradients that are there; with none, return a zero
        norm = root of the sum of the squares of all their numbers
        if norm > threshold: multiply every gradient, in place, by threshold / norm
        return the norm from before
    """,
    mistakes=(
        Mistake("per tensor", "Each gradient is clipped by its own norm, which changes the "
                "direction of the step; there is one norm of all together.",
                (CUT, "    for g in gradients:\n        if g.norm() > max_norm:\n"
                      "            g.mul_(max_norm / g.norm())\n")),
        Mistake("always rescaled", "Gradients below the threshold are scaled up to it; they must "
                "stay as they are.", ("    if norm > max_norm:\n    ", "")),
        Mistake("by value", "Every number is cut at the threshold, which changes the direction of "
                "the step.", (CUT, "    for g in gradients:\n"
                                   "        g.clamp_(-max_norm, max_norm)\n")),
        Mistake("sum of norms", "The norms of the tensors are added; their squares must be added, "
                "and the root taken.",
                (NORM, "norm = sum(torch._foreach_norm(gradients))")),
        Mistake("largest norm", "The largest of the norms is taken; all gradients together have "
                "one norm.", (NORM, "norm = max(torch._foreach_norm(gradients))")),
        Mistake("norm afterwards", "The norm after clipping is returned; what was there before is "
                "what tells of a bad batch.",
                (CUT, CUT + "    norm = torch.minimum(norm, torch.tensor(float(max_norm)))\n")),
        Mistake("no root", "The sum of squares is used without its root.",
                (NORM, NORM + " ** 2")),
        Mistake("sum of absolute values", "The norm is the sum of absolute values; it is the root "
                "of the sum of squares.",
                (NORM, "norm = sum(g.abs().sum() for g in gradients)")),
        Mistake("mean of squares", "The squares are averaged, not summed.",
                (NORM, NORM + "\n    norm = norm / sum(g.numel() for g in gradients) ** 0.5")),
        Mistake("factor upside down", "The gradients are multiplied by norm / c; it is c / norm.",
                ("max_norm / norm", "norm / max_norm")),
        Mistake("clipped below", "Gradients below the threshold are changed and those above it are "
                "not; the comparison is the wrong way round.",
                ("if norm > max_norm", "if norm < max_norm")),
        Mistake("unit norm", "The gradients are brought to norm 1, not to the threshold.",
                ("max_norm / norm)", "1 / norm)")),
        Mistake("not in place", "The gradients stay as they are: either new tensors are made, or "
                "the parameters, which may be a generator, are gone through twice.",
                ("torch._foreach_mul_(", "torch._foreach_mul(")),
        Mistake("grad None", "A parameter whose .grad is None is not skipped.",
                (SKIP, "gradients = [p.grad.detach() for p in parameters]")),
        Mistake("no gradient at all", "Where no parameter has a gradient it fails; the norm is "
                "zero then.", ("    if not gradients:\n        return torch.zeros(())\n", "")),
        Mistake("threshold not checked", "A threshold of 0 or less is accepted; it must be "
                "refused with ValueError.", ("if not max_norm > 0:", "if False:")),
    ),
    variants=(
        Variant("a loop", "One tensor after the other. A model of 150 tensors makes 300 calls; the "
                "version with _foreach makes 3.", {CLIP: """
            if not max_norm > 0:
                raise ValueError(f"max_norm must be positive, got {max_norm}")
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = torch.zeros(())
            for g in gradients:
                norm += (g * g).sum()
            norm = norm.sqrt()
            for g in gradients:
                g *= min(1.0, float(max_norm / norm))
            return norm
            """}),
        Variant("one long vector", "Short, but copies all gradients once: as much memory again as "
                "the model has parameters.", {CLIP: """
            if not max_norm > 0:
                raise ValueError(f"max_norm must be positive, got {max_norm}")
            gradients = [p.grad for p in parameters if p.grad is not None]
            if not gradients:
                return torch.zeros(())
            norm = torch.cat([g.flatten() for g in gradients]).norm()
            if norm > max_norm:
                for g in gradients:
                    g.mul_(max_norm / norm)
            return norm
            """}),
        Variant("torch's own", "Adds 1e-6 to the norm that it divides by, so a threshold is "
                "missed by a part in a million or so.", {CLIP: """
            if not max_norm > 0:
                raise ValueError(f"max_norm must be positive, got {max_norm}")
            parameters = [p for p in parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
            for p in parameters:
                p.grad.div_(torch.clamp(norm / max_norm, min=1))
            return norm
            """}),
    ),
)
