"""How sure a difference is: 95% intervals over seeds and questions.

    over seeds       mean +- t sd / sqrt(n), of one value for each of n seeds

    paired           d_si: difference of two arms for seed s on question i
                     mean +- t sqrt(A + B)     A = var_s(mean_i d_si) / seeds
                                               B = var_i(mean_s d_si) / questions
                     t has (A + B)^2 / (A^2 / (seeds - 1) + B^2 / (questions - 1)) degrees of
                     freedom

t is where Student's distribution passes 97.5%. The paired interval holds for other seeds and other
questions alike. A bootstrap over both would be too narrow with five seeds that
differ much.

Source: Student 1908; Satterthwaite 1946 (degrees of freedom).
"""

from statistics import mean, stdev, variance

# Student's t at 97.5% for 1, 2, 3, ... degrees of freedom.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
         2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
         2.052, 2.048, 2.045)


def t_975(freedom):
    """Student's t at 97.5%; degrees of freedom between two of the table count as the lower.

    >>> t_975(4), t_975(4.9), round(t_975(1000), 2)
    (2.776, 2.776, 1.96)
    """
    if freedom < len(T_975) + 1:
        return T_975[max(1, int(freedom)) - 1]
    return 1.96 + 2.45 / freedom  # within 0.002 of the truth from 30 on


def paired_interval(before, after):
    """Mean difference after - before, and its 95% interval: (difference, low, high).

    before, after: a list of scores for each seed, the same questions in the same order everywhere;
    ValueError if their numbers differ.
    With one seed the interval speaks of other questions only, with one question of other seeds
    only.
    """
    differences = [[b - a for a, b in zip(*pair, strict=True)]
                   for pair in zip(before, after, strict=True)]  # (seeds, items)
    by_seed = [mean(row) for row in differences]
    by_item = [mean(column) for column in zip(*differences)]
    parts = [(variance(values) / len(values), len(values) - 1)
             for values in (by_seed, by_item) if len(values) > 1]
    center, total = mean(by_seed), sum(part for part, _ in parts)
    if not total:
        return center, center, center
    freedom = total ** 2 / sum(part ** 2 / freedom for part, freedom in parts)
    half = t_975(freedom) * total ** 0.5
    return center, center - half, center + half


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
    return t_975(n - 1) * spread / n ** 0.5


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
