from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from neuraltuning.llm import load_llm
from neuraltuning.mmud import embedded_reader
from tests.tiny_models import llm_folder, tokenizer


def test_answers_in_a_batch_are_those_of_each_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, dtype: torch.dtype) -> tuple[Any, Any]:
        model, tokenizer = load_llm(str(llm_folder(tmp_path / "llm")), torch.float32)
        tokenizer.chat_template = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
        return model, tokenizer

    monkeypatch.setattr(embedded_reader, "load_llm", load)
    reader = embedded_reader.EmbeddedReader()
    prompts = ["Which of these keeps you dry?", "What?", "Where does the left dog look when it rains in the garden?"]
    together = reader.answers(prompts)
    assert together == [reader.answers([prompt])[0] for prompt in prompts]
    for prompt, (text, inputs, outputs) in zip(prompts, together, strict=True):
        assert text
        assert inputs == len(tokenizer()(f"[{prompt}]", add_special_tokens=False).input_ids)
        assert 1 <= outputs <= embedded_reader.LONGEST_ANSWER
