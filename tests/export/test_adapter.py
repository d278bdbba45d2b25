"""The adapter in a model's folder, with plain peft and transformers, as docs/export.md shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

from neuraltuning.model import MultitaskModel
from tests.tiny_models import lively, model_settings

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
QUESTION = "What is a kite?"


def test_the_adapter_writes_the_models_text(tmp_path: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(tmp_path)))
    with torch.no_grad():  # so that the model says no task tokens, which the adapter alone doesn't know
        model.task_tokens.output_rows.copy_(-10.0 * model.language_model.get_output_embeddings().weight.mean(0))
    folder = model.save_pretrained(tmp_path / "saved")
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert QUESTION in code
    code = code.replace("runs/quickstart/model", str(folder))
    run = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stderr
    reply = model.reply(None, QUESTION, max_new_tokens=40).text
    assert len(reply) > 20
    assert " ".join(run.stdout.split()) == reply
