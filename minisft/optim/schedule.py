"""Learning-rate schedules: functions from the step (0, 1, 2, ...) to the learning rate.

    warm-up   eta(s) = eta_max (s + 1) / W                                            s < W
    cosine    eta(s) = eta_min + (eta_max - eta_min) (1 + cos(pi (s - W) / (S - W))) / 2
    WSD       constant eta_max until S - D, then linear from eta_max to eta_min in D steps

S: number of steps (`total`); W: steps of warm-up; D: steps of decay; eta_max: `peak`; eta_min:
`floor`, where the rate stays after step S.

Notes: 优化设置 (optimization settings); WSD: 多阶段指令数据微调 (staged tuning). Source: Loshchilov
and Hutter 2017 (cosine); Hu et al. 2024 (MiniCPM, section 4), with a linear decay instead of an
exponential one.
"""

import math


def _check(peak, floor, **steps):
    if not 0 <= floor <= peak < math.inf:
        raise ValueError("the rates must be finite and satisfy 0 <= floor <= peak, got "
                         f"floor={floor}, peak={peak}")
    for name, value in steps.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def warmup_cosine(peak, total, warmup=0, floor=0.0):
    """Warm up to `peak` for `warmup` steps, then fall to `floor` along half a cosine until `total`.

    >>> lr = warmup_cosine(1.0, total=6, warmup=2)
    >>> [round(lr(step), 3) for step in range(8)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    _check(peak, floor, total=total, warmup=warmup)

    def lr(step):
        if step >= total:
            return floor
        if step < warmup:
            return peak * (step + 1) / warmup
        done = (step - warmup) / (total - warmup)
        return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2

    return lr


def wsd(peak, total, warmup=0, decay=0, floor=0.0):
    """Warm up, stay at `peak`, and fall linearly to `floor` over the last `decay` of `total` steps.

    >>> lr = wsd(1.0, total=8, warmup=2, decay=4)
    >>> [lr(step) for step in range(10)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    _check(peak, floor, total=total, warmup=warmup, decay=decay)
    if warmup + decay > total:
        raise ValueError(f"warmup ({warmup}) and decay ({decay}) do not fit into {total} steps")

    def lr(step):
        if step < warmup:
            return peak * (step + 1) / warmup
        if step < total - decay:
            return peak
        left = max(0, total - step) / max(1, decay)
        return floor + (peak - floor) * left

    return lr
