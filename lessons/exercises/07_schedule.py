"""A learning-rate schedule: warm up, stay, decay (WSD).

    warm-up   eta(s) = eta_max (s + 1) / W                    s < W
    stable    eta(s) = eta_max                                W <= s < S - D
    decay     linear from eta_max at step S - D to eta_min at step S, where it stays

s: the step, 0, 1, 2, ...; S: number of steps (`total`); W: steps of warm-up; D: steps of decay;
eta_max: `peak`; eta_min: `floor`.

Write `wsd`, which returns a function from the step to the learning rate. Warm-up and decay that do
not fit into the steps are refused with ValueError. `_check` looks at the single values.

Check it: python lessons/check.py 7
"""

import math

from minisft.optim.schedule import _check


def wsd(peak, total, warmup=0, decay=0, floor=0.0):
    """Warm up, stay at `peak`, and fall linearly to `floor` over the last `decay` of `total` steps.

    >>> lr = wsd(1.0, total=8, warmup=2, decay=4)
    >>> [lr(step) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    raise NotImplementedError
