"""How sure a difference is: 95% intervals over seeds and questions.

    paired bootstrap   draw seeds and questions again, with replacement, the same ones in both arms;
                       the interval holds the middle 95% of the differences
    Student's t        mean +- t sd / sqrt(n) over n seeds, of one value for each seed

Source: Efron and Tibshirani 1993, chapter 13 (bootstrap); Student 1908.
"""

from statistics import mean, stdev

import torch

# Where Student's t with n - 1 degrees of freedom passes 97.5%, for n = 2, 3, ... values.
# Beyond 30 the last of them serves, which makes intervals slightly too wide.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
         2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
         2.052, 2.048, 2.045)


def paired_bootstrap(before, after, draws=2000, seed=0):
    """Mean difference after - before, and its 95% interval: (difference, low, high).

    before, after: a list of scores for each seed, the same questions in the same order everywhere.
    """
    after, before = (torch.tensor(scores, dtype=torch.float64) for scores in (after, before))
    difference = after - before  # (seeds, items)
    generator = torch.Generator().manual_seed(seed)
    means = []
    for _ in range(draws):
        seeds = torch.randint(len(difference), (len(difference),), generator=generator)
        items = torch.randint(difference.shape[1], (difference.shape[1],), generator=generator)
        means.append(difference[seeds].mean(0)[items].mean())
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.stack(means).quantile(ends).tolist()
    return difference.mean().item(), low, high


def over_seeds(values):
    """Mean and 95% interval of one value for each seed, by Student's t: (mean, low, high).

    With a single seed there is no interval: both its ends are the value.

    >>> [round(x, 3) for x in over_seeds([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    n, center = len(values), mean(values)
    if n == 1:
        return center, center, center
    half = half_width(stdev(values), n)
    return center, center - half, center + half


def half_width(spread, n):
    """Half of the 95% interval of a mean over n seeds whose values have this standard deviation.

    A smaller effect cannot be told from none. ValueError for fewer than 2 seeds.
    """
    if n < 2:
        raise ValueError(f"one seed has no spread, so there is no interval; got n={n}")
    return T_975[min(n - 2, len(T_975) - 1)] * spread / n ** 0.5


def seeds_needed(spread, effect, most=30):
    """The fewest seeds whose interval is no wider than +- the effect; None for more than 30.

    A true effect of this size is then seen about half of the time.

    >>> seeds_needed(spread=0.02, effect=0.02)
    7
    """
    for n in range(2, most + 1):
        if half_width(spread, n) <= effect:
            return n
    return None
