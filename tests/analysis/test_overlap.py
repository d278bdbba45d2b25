"""What tasks share of their neurons: against scipy and scikit-learn, by hand, and tests whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from neuraltuning.analysis import overlap
from neuraltuning.analysis.overlap import Floats, Rates

HALF = overlap.jaccard(0.5)
MEASURES = [HALF, overlap.rank_correlation]


def frequencies(*shape: int, seed: int = 0) -> Floats:
    return np.round(np.random.default_rng(seed).random(shape), 1)  # with ties


def rates_of(**tasks: Any) -> Rates:
    """Rates of tasks by name, each (N, L, d_z)."""
    values = np.stack([np.asarray(v, dtype=np.float32) for v in tasks.values()], axis=1)
    n_layers = values.shape[2]
    return Rates(tuple(tasks), tuple(range(n_layers)), values, np.ones(values.shape[:2], dtype=np.int64))


def noisy(center: Floats, n: int, rng: np.random.Generator, noise: float = 0.15) -> Floats:
    """(n, L, d_z) rates of n images around a task's frequencies."""
    return np.clip(center + rng.normal(0, noise, (n, *center.shape)), 0, 1)


def test_jaccard_is_scikit_learns_averaged_over_layers() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    a, b = frequencies(4, 20), frequencies(4, 20, seed=1)
    each = [metrics.jaccard_score(x >= 0.5, y >= 0.5) for x, y in zip(a, b, strict=True)]
    assert overlap.jaccard_by_layer(a, b, 0.5) == pytest.approx(each, abs=1e-12)
    assert float(HALF(a, b)) == pytest.approx(np.mean(each), abs=1e-12)


def test_rank_correlation_is_scipys_averaged_over_layers() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = frequencies(4, 20), frequencies(4, 20, seed=1)
    each = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert float(overlap.rank_correlation(a, b)) == pytest.approx(np.mean(each), abs=1e-12)


def test_layers_in_which_nothing_can_be_said_are_left_out() -> None:
    a, b = np.array([[0.9, 0.1], [0.0, 0.0]]), np.array([[0.9, 0.9], [0.1, 0.1]])
    assert float(HALF(a, b)) == 0.5
    assert np.isnan(HALF(a[1:], b[1:])) and np.isnan(overlap.rank_correlation(a[1:], b[1:]))


def test_a_frequency_that_rounding_keeps_below_the_threshold_reaches_it() -> None:
    tenth = np.full((10, 1, 1), 0.1).sum(0)  # 0.9999999999999999
    assert overlap.is_active(tenth, 1.0).all()


def test_chance_is_what_random_sets_share() -> None:
    rng = np.random.default_rng(0)
    first, second = ((np.arange(30)[None] < size).astype(np.float64) for size in (12, 9))
    drawn = [overlap.jaccard_by_layer(first, rng.permuted(second, axis=1), 0.5) for _ in range(4000)]
    assert overlap.chance_jaccard(first, second, 0.5) == pytest.approx(np.mean(drawn), abs=0.005)
    assert np.isnan(overlap.chance_jaccard(np.zeros((2, 4)), np.zeros((2, 4)), 0.5))


def test_census_by_hand() -> None:
    #              shared several specific rare never
    found = np.array([[[0.9, 0.5, 0.0, 0.4, 0.0]], [[0.6, 0.7, 0.1, 0.0, 0.009]], [[0.5, 0.2, 0.8, 0.3, 0.0]]])
    assert list(overlap.census(found, 0.5, 0.01).items()) == [
        (kind, [1]) for kind in ("shared", "several", "specific", "rare", "never")
    ]
    alone = overlap.census(found[:1], 0.5, 0.01)
    assert alone == {"shared": [2], "several": [0], "specific": [0], "rare": [1], "never": [2]}


@pytest.mark.parametrize("measure", MEASURES)
def test_overlap_has_an_interval_over_images(measure: overlap.Measure) -> None:
    rng = np.random.default_rng(0)
    rates = rates_of(a=noisy(frequencies(3, 30), 12, rng), b=noisy(frequencies(3, 30, seed=1), 12, rng))
    value, interval = overlap.overlap(rates, "a", "b", measure)
    assert interval is not None and interval[0] < interval[1]
    assert value == pytest.approx(float(measure(*rates.frequencies())))
    few = rates_of(a=rates.of("a")[:1], b=rates.of("b")[:1])
    assert overlap.overlap(few, "a", "b", measure)[1] is None


@pytest.mark.parametrize("measure", MEASURES)
def test_a_relative_is_told_from_a_stranger(measure: overlap.Measure) -> None:
    rng = np.random.default_rng(0)
    own, other = frequencies(3, 40), frequencies(3, 40, seed=1)
    rates = rates_of(
        anchor=noisy(own, 14, rng), relative=noisy(0.7 * own + 0.3 * other, 14, rng), other=noisy(other, 14, rng)
    )
    found = overlap.compare(rates, "anchor", "relative", "other", measure)
    assert found.difference > 0.1 and found.p < 0.01 and found.n == 14
    against = overlap.compare(rates, "anchor", "other", "relative", measure)
    assert against.difference == pytest.approx(-found.difference) and against.p > 0.99


def test_where_names_mean_nothing_the_test_says_so_as_often_as_it_should() -> None:
    rng = np.random.default_rng(0)
    ps = []
    for _ in range(120):
        own = rng.random((2, 12))
        same = rng.random((2, 12))
        rates = rates_of(a=noisy(own, 6, rng), b=noisy(same, 6, rng), c=noisy(same, 6, rng))
        ps.append(overlap.compare(rates, "a", "b", "c", overlap.rank_correlation).p)
    assert np.mean(np.array(ps) <= 0.05) < 0.12  # 0.05 expected; 0.12 has a chance of one in a thousand
    assert 0.4 < np.mean(ps) < 0.6


def test_a_single_image_can_show_nothing() -> None:
    rates = rates_of(a=[[[1.0, 0.0, 1.0]]], b=[[[1.0, 0.0, 1.0]]], c=[[[0.0, 1.0, 0.0]]])
    found = overlap.compare(rates, "a", "b", "c", HALF)
    assert found.difference == 1.0 and found.n == 1 and 0.4 < found.p < 0.6  # of two ways to name them, one is as good


def test_images_without_all_three_are_left_out() -> None:
    rng = np.random.default_rng(0)
    whole = {task: noisy(frequencies(2, 10, seed=i), 6, rng) for i, task in enumerate("abc")}
    holey = {task: values.copy() for task, values in whole.items()}
    holey["c"][4:] = np.nan
    found = overlap.compare(rates_of(**holey), "a", "b", "c", HALF)
    kept = overlap.compare(rates_of(**{task: values[:4] for task, values in whole.items()}), "a", "b", "c", HALF)
    assert found == kept and found.n == 4
    holey["c"][:] = np.nan
    assert overlap.compare(rates_of(**holey), "a", "b", "c", HALF).n == 0
    assert np.isnan(overlap.gain(rates_of(**holey), rates_of(**holey), "a", "b", "c", HALF)[0])
    value, interval = overlap.overlap(rates_of(**{**whole, "b": holey["a"]}), "a", "b", HALF)
    assert value == 1.0 and interval == [1.0, 1.0]


def test_the_claim_needs_every_comparison() -> None:
    rng = np.random.default_rng(0)
    own, other = frequencies(3, 40), frequencies(3, 40, seed=1)
    near = {"a": noisy(own, 10, rng), "b": noisy(own, 10, rng)}
    holds = overlap.relatives_share_more(rates_of(**near, c=noisy(other, 10, rng)), ("a", "b"), HALF)
    assert (
        holds["p"] < 0.01 and holds["rank"] == 1 and holds["pairs"] == 3 and holds["p_of_rank"] == pytest.approx(1 / 3)
    )
    assert [(c.anchor, c.relative, c.other) for c in holds["comparisons"]] == [("a", "b", "c"), ("b", "a", "c")]
    # d is as near to b as a is
    rivalled = rates_of(**near, c=noisy(other, 10, rng), d=noisy(own, 10, rng))
    fails = overlap.relatives_share_more(rivalled, ("b", "a"), HALF)
    assert fails["p"] > 0.05 and len(fails["comparisons"]) == 4 and fails["pairs"] == 6


def test_gain_is_what_tuning_adds_to_a_difference() -> None:
    rng = np.random.default_rng(0)
    own, other = frequencies(3, 40), frequencies(3, 40, seed=1)
    before = rates_of(a=noisy(own, 10, rng), b=noisy(own, 10, rng), c=noisy(own, 10, rng))
    after = rates_of(a=noisy(own, 10, rng), b=noisy(own, 10, rng), c=noisy(other, 10, rng))
    value, interval = overlap.gain(after, before, "a", "b", "c", overlap.rank_correlation)
    assert value > 0.3 and interval is not None and interval[0] > 0.2
    assert overlap.gain(before, before, "a", "b", "c", HALF) == (0.0, [0.0, 0.0])
