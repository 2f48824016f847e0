"""Random numbers in compiled code: the same on every machine, each search with its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from schedule.solvers.kit.compiled import part

Words = npt.NDArray[np.uint64]


def random_of(seed: int) -> Words:
    """The state of a generator of random numbers."""
    # An odd multiple of the golden ratio: never 0, on which the generator would stay.
    return np.array([(2 * seed + 1) * 0x9E3779B97F4A7C15 % 2**64], np.uint64)


@part
def draw(random: Words) -> float:
    """A uniform number in [0, 1): xorshift64* (Vigna 2016, doi:10.1145/2845077)."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) * 2.0**-53


@part
def below(random: Words, n: int) -> int:
    """A uniform whole number from 0 to n − 1."""
    return int(draw(random) * n)
