"""Several processes at work on one grid."""

from __future__ import annotations

import pytest

from neuraltuning.ablation.processes import side_by_side
from neuraltuning.errors import RunError


def test_each_runs_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    side_by_side(2, ["--version"])
    assert capfd.readouterr().out.count("neuraltuning ") == 2


def test_a_failure_of_one_is_a_failure() -> None:
    with pytest.raises(RunError, match="2 of 2 processes failed"):
        side_by_side(2, ["report", "nowhere"])
