"""Where data come from, as a configuration says it: one source, or several by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuraltuning.configuration import dump_settings, load_settings, validate_settings
from neuraltuning.errors import InputError
from neuraltuning.training.settings import DataSettings, RunSettings
from tests.training.conftest import RATES

TWO = {
    "scenes": {"source": "scenes"},
    "mine": {"source": "s3://bucket/mine", "weight": 2.0, "mixture": {"captioning": 1.0}},
}


def run(data: dict[str, Any], **samples: int) -> RunSettings:
    values = {
        "model": {"llm": "smollm2-135m", "encoder": "efficientnet-lite0"},
        "data": data,
        "mixture": {"referring_segmentation": 1.0},
        "tuning": {"steps": 1, "batch_size": 1, "learning_rates": RATES},
        "evaluation": {"samples": samples or {"test": 5}},
    }
    return validate_settings(RunSettings, values, "the test")


def test_scenes_are_the_source_where_none_is_named() -> None:
    assert DataSettings() == DataSettings(source="scenes")
    assert {name: s.source for name, s in run({}).data.named.items()} == {"scenes": "scenes"}
    assert run({"source": "data/mine"}).data.of_split("test.old") == (
        run({"source": "data/mine"}).data.named["data/mine"],
        "test.old",
    )


def test_several_sources_have_their_own_weights_and_tasks(tmp_path: Path) -> None:
    settings = run({"sources": TWO}, **{"mine.test": 3, "scenes.test_classes": 2})
    scenes, mine = settings.data.named.values()
    assert (scenes.weight, mine.weight) == (1.0, 2.0)
    assert settings.mixture_of(scenes) == {"referring_segmentation": 1.0}
    assert settings.mixture_of(mine) == {"captioning": 1.0}
    assert settings.tasks == ("referring_segmentation", "captioning")
    assert settings.data.of_split("mine.test") == (mine, "test")
    (tmp_path / "run.yaml").write_text(dump_settings(settings))
    assert load_settings(RunSettings, tmp_path / "run.yaml") == settings


@pytest.mark.parametrize(
    ("data", "samples", "sentence"),
    [
        ({"source": "scenes", "sources": TWO}, {}, "data is .* but it must name either source or sources"),
        ({"source": None}, {}, "data is .* but it must name either source or sources"),
        ({"sources": {"a.b": {"source": "x"}}}, {}, r"data\.sources\.a\.b.*must match pattern"),
        (
            {"sources": {"a": {"source": "x", "wieght": 2.0}}},
            {},
            r"no key data\.sources\.a\.wieght; did you mean .*weight",
        ),
        ({"sources": {"a": {"source": "x", "weight": 0.0}}}, {}, r"data\.sources\.a\.weight is 0\.0"),
        ({"sources": TWO}, {}, r"split 'test' doesn't say which source it is of: write scenes\.test; the sources are"),
        ({"sources": TWO}, {"others.test": 3}, r"split 'others\.test' doesn't say .* write scenes\.test"),
        ({"max_left_out": 1.5}, {}, r"data\.max_left_out is 1\.5"),
    ],
)
def test_what_can_not_be_meant_is_refused(data: dict[str, Any], samples: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        run(data, **samples)
    assert "\n" not in str(caught.value)
