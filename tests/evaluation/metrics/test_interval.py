"""Bootstrap intervals: against scipy, independent of the order of items, and honest about single items."""

from __future__ import annotations

import numpy as np
import pytest

from neuraltuning.evaluation.metrics.interval import ItemStatistics, bootstrap_interval, resample_counts


def test_the_interval_of_a_mean_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).gamma(2.0, size=80)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=1)
    interval = bootstrap_interval(values)
    assert interval is not None
    assert interval == pytest.approx(list(theirs.confidence_interval), abs=0.02)


def test_a_ratio_of_sums_resamples_items_and_not_ratios() -> None:
    # One large item decides the ratio whenever it is drawn: the interval must reach far from the mean of the ratios.
    numerators, denominators = [90.0, 0.0, 0.0, 0.0], [100.0, 1.0, 1.0, 1.0]
    interval = bootstrap_interval(numerators, denominators)
    assert interval is not None
    assert interval[0] == 0.0 and interval[1] == pytest.approx(0.9, abs=0.01)


def test_nothing_depends_on_the_order_of_items() -> None:
    rows = np.random.default_rng(0).random((50, 2))
    shuffled = np.random.default_rng(1).permutation(rows)
    assert bootstrap_interval(rows[:, 0], rows[:, 1]) == bootstrap_interval(shuffled[:, 0], shuffled[:, 1])


def test_one_item_has_no_interval_and_no_items_no_score() -> None:
    items = ItemStatistics(("hits", "items"))
    assert items.scores({"accuracy": items.ratio("hits", "items")}) == {"accuracy": None, "accuracy_ci95": None}
    items.append({"hits": 1, "items": 1})
    assert items.scores({"accuracy": items.ratio("hits", "items")}) == {"accuracy": 1.0, "accuracy_ci95": None}
    assert bootstrap_interval([0.5]) is None


def test_a_score_that_a_resample_may_leave_undefined_still_gets_an_interval() -> None:
    items = ItemStatistics(("found", "empty"))
    for row in ({"found": 1, "empty": 1}, {}, {}, {"empty": 1}):
        items.append(row)
    score = items.scores({"n_acc": items.ratio("found", "empty")})
    assert score["n_acc"] == 0.5 and score["n_acc_ci95"] == [0.0, 1.0]


def test_every_resample_draws_as_many_items_as_there_are() -> None:
    counts = resample_counts(7, resamples=200)
    assert counts.shape == (200, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean() == pytest.approx(1.0)
    assert (counts == resample_counts(7, resamples=200)).all()


def test_unknown_statistics_and_foreign_merges_are_refused() -> None:
    items = ItemStatistics(("hits", "items"))
    with pytest.raises(KeyError, match="misses"):
        items.append({"misses": 1})
    with pytest.raises(ValueError, match="merge"):
        items.extend(ItemStatistics(("other",)))
    with pytest.raises(ValueError, match="shapes"):
        bootstrap_interval([1.0, 2.0], [1.0])
