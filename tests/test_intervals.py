"""Intervals of differences: by hand, and against what they promise."""

import math
from statistics import stdev

import pytest

from minisft.intervals import T_975, half_width, over_seeds, seeds_needed


def test_the_table_of_students_t_is_the_published_one():
    assert (T_975[0], T_975[3], T_975[8], T_975[28]) == (12.706, 2.776, 2.262, 2.045)
    assert all(a > b for a, b in zip(T_975, T_975[1:])) and T_975[-1] > 1.96


@pytest.mark.parametrize("n, t", [(2, 12.706), (5, 2.776), (8, 2.365), (12, 2.201), (30, 2.045),
                                  (40, 2.0228)])
def test_an_interval_over_seeds_is_students(n, t):
    values = [math.sin(seed) for seed in range(n)]
    center, low, high = over_seeds(values)
    assert center == pytest.approx(sum(values) / n)
    assert high - center == pytest.approx(center - low)
    assert high - center == pytest.approx(t * stdev(values) / math.sqrt(n))


def test_one_seed_has_no_interval():
    assert over_seeds([0.4]) == (0.4, 0.4, 0.4)


def test_the_seeds_needed_are_the_fewest_that_do():
    n = seeds_needed(spread=0.03, effect=0.02)
    assert half_width(0.03, n) <= 0.02 < half_width(0.03, n - 1)
    assert seeds_needed(0.0, 0.02) == 2
    assert seeds_needed(1.0, 0.02) is None
