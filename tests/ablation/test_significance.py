"""Comparisons in pairs, against hand-worked cases and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from neuraltuning.ablation.significance import paired_difference
from neuraltuning.errors import InputError


def test_a_constant_difference_has_no_spread() -> None:
    reference = np.random.default_rng(0).random((3, 20))
    found = paired_difference(reference + 0.125, reference)
    assert found.mean == pytest.approx(0.125)
    assert found.interval == pytest.approx((0.125, 0.125))
    assert found.by_seed == pytest.approx((0.125,) * 3)
    assert (found.n_seeds, found.n_items) == (3, 20)
    assert found.p_value is not None and found.p_value < 0.001


def test_the_same_variant_differs_by_nothing() -> None:
    values = np.random.default_rng(0).random((2, 9))
    found = paired_difference(values, values)
    assert (found.mean, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_the_p_value_is_exact_for_few_items() -> None:
    # of the 16 flips of signs two are as far out as 1 + 2 + 3 + 4
    found = paired_difference([[1.0, 2.0, 3.0, 4.0]], [[0.0] * 4])
    assert found.p_value == pytest.approx(2 / 16)


def test_the_p_value_is_near_to_that_of_another_test() -> None:
    rng = np.random.default_rng(5)
    difference = rng.normal(0.1, 0.3, (1, 60))
    ours = paired_difference(difference, np.zeros_like(difference)).p_value
    assert ours == pytest.approx(ttest_1samp(difference[0], 0.0).pvalue, abs=0.02)


def test_the_interval_is_wider_where_seeds_disagree() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, (3, 200))
    agreeing = paired_difference(noise + 0.1, np.zeros_like(noise))
    disagreeing = paired_difference(noise + np.array([[-0.2], [0.1], [0.4]]), np.zeros_like(noise))
    assert agreeing.interval is not None and disagreeing.interval is not None
    assert agreeing.interval[0] > 0
    assert disagreeing.interval[0] < 0 < disagreeing.interval[1]


def test_a_single_item_has_no_interval() -> None:
    found = paired_difference([[1.0], [0.5]], [[0.0], [0.0]])
    assert (found.mean, found.interval, found.p_value) == (0.75, None, None)


@pytest.mark.parametrize(
    ("values", "reference", "sentence"),
    [
        ([[1.0, 2.0]], [[1.0]], "same items"),
        ([1.0], [1.0], "same items"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "same items"),
        ([[float("nan")]], [[1.0]], "not a number"),
    ],
)
def test_what_cannot_be_compared_is_refused(values: object, reference: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        paired_difference(values, reference)  # type: ignore[arg-type]
