"""Tokens drawn from logits."""

import math

import numpy as np
import pytest

import librnn
from helpers import DTYPES, randoms

LOGITS = np.array([1.0, -0.5, 0.3, 2.0, -3.0, 0.3, 0.9])


def draws(count, **options):
    return np.array([librnn.sample(LOGITS, seed=7, position=n, **options) for n in range(count)])


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def assert_frequencies(tokens, probabilities):
    """Chi-square: 6 standard deviations above its mean would be a fault, not chance; the seed is fixed besides."""
    counts = np.bincount(tokens, minlength=len(probabilities))
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = len(tokens) * probabilities[possible]
    freedom = possible.sum() - 1
    chi_square = ((counts[possible] - expected) ** 2 / expected).sum()
    assert chi_square < freedom + 6 * math.sqrt(2 * max(freedom, 1)), (counts, expected)


def restricted(keep, temperature=1.0):
    probabilities = np.zeros(len(LOGITS))
    probabilities[keep] = softmax(LOGITS[keep] / temperature)
    return probabilities


def test_frequencies_are_the_softmax():
    assert_frequencies(draws(20000), softmax(LOGITS))


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_temperature_divides_the_logits(temperature):
    assert_frequencies(draws(8000, temperature=temperature), softmax(LOGITS / temperature))


def test_top_k_keeps_the_k_most_likely_and_equals_by_index():
    order = [3, 0, 6, 2, 5, 1, 4]
    for k in (1, 2, 4, 7, 100):
        assert_frequencies(draws(4000, top_k=k), restricted(order[:k]))
    assert_frequencies(draws(4000, top_k=3, temperature=2.0), restricted(order[:3], 2.0))


def test_top_p_keeps_the_most_likely_until_their_probabilities_reach_it():
    order = [3, 0, 6, 2, 5, 1, 4]
    sums = np.cumsum(softmax(LOGITS)[order])
    for p in (1e-9, 0.5, 0.7, 0.95, 0.999, 1.0):
        keep = order[: int(np.searchsorted(sums, p)) + 1] if p < 1 else order
        assert_frequencies(draws(4000, top_p=p), restricted(keep))
    # After top_k: of what is left.
    two = np.cumsum(softmax(LOGITS[order[:2]]))
    assert_frequencies(draws(2000, top_k=2, top_p=two[0] - 1e-6), restricted(order[:1]))
    assert_frequencies(draws(2000, top_k=2, top_p=two[0] + 1e-6), restricted(order[:2]))


def test_greedy_is_the_most_likely_and_of_equals_the_first():
    assert {int(token) for token in draws(20, greedy=True)} == {3}
    assert librnn.sample([0.0, 5, 5], greedy=True) == 1
    assert librnn.sample([2.0, 1], greedy=True, seed=1, top_k=1) == 0
    assert {int(token) for token in draws(200, temperature=1e-3)} == {3}


def test_the_draw_is_a_function_of_seed_and_position():
    first = [librnn.sample(LOGITS, seed=3, position=n) for n in range(300)]
    assert first == [librnn.sample(LOGITS, seed=3, position=n) for n in range(300)]
    assert first == [librnn.sample(LOGITS, seed=3, position=n) for n in reversed(range(300))][::-1]
    assert first != [librnn.sample(LOGITS, seed=4, position=n) for n in range(300)]
    assert isinstance(first[0], int)
    assert librnn.sample(LOGITS, seed=2**64 - 1, position=2**64 - 1) in range(7)


def test_seeds_and_positions_are_independent_draws():
    tokens = np.array([[librnn.sample([0.0, 0.0], seed=s, position=n) for n in range(60)] for s in range(60)])
    # 3600 fair coins: 30 is one standard deviation of their sum; 15 of half of a row of 60 is 4.
    assert abs(tokens.sum() - 1800) < 150
    assert (np.abs(tokens.sum(axis=0) - 30) < 18).all() and (np.abs(tokens.sum(axis=1) - 30) < 18).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_and_extreme_logits(dtype):
    logits = np.array([-np.inf, 1, -np.inf, 1], dtype)
    assert {librnn.sample(logits, position=n) for n in range(60)} == {1, 3}
    assert {librnn.sample(np.array([1e4, -1e4, 1e4], dtype), position=n) for n in range(60)} == {0, 2}
    assert librnn.sample(np.array([3], dtype)) == 0
    assert librnn.sample(randoms(5000, dtype=dtype), top_p=0.9, top_k=50) < 5000


@pytest.mark.parametrize(
    "logits, options, message",
    [
        ([], {}, "logits_count is 0"),
        ([1.0, math.nan], {}, r"logits\[1\] is nan"),
        ([1.0, math.inf], {}, r"logits\[1\] is inf"),
        ([-math.inf, -math.inf], {}, "all logits are -infinity"),
        ([[1.0]], {}, r"logits has shape \(1, 1\)"),
        ([1.0], {"temperature": 0}, "greedy=True"),
        ([1.0], {"temperature": -1}, "temperature is -1"),
        ([1.0], {"temperature": math.nan}, "temperature is nan"),
        ([1.0], {"temperature": math.inf}, "temperature is inf"),
        ([1.0], {"top_p": 0}, "top_p is 0"),
        ([1.0], {"top_p": 1.5}, "top_p is 1.5"),
        ([1.0], {"top_k": -1}, "top_k is -1"),
        ([1.0], {"seed": -1}, "seed is -1"),
        ([1.0], {"position": 0.5}, "position is 0.5"),
    ],
)
def test_wrong_arguments_are_errors_that_say_what_is_wrong(logits, options, message):
    with pytest.raises(librnn.RNNError, match=message):
        librnn.sample(logits, **options)
