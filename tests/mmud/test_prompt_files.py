from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from neuraltuning.errors import InputError
from neuraltuning.mmud.prompt_files import load_prompt


def test_a_prompt_of_ones_own_takes_the_packages_place(tmp_path: Path) -> None:
    text = '{question} in {"json": 1}, {question}\n'
    (tmp_path / "blind.md").write_text(text, encoding="utf-8")
    prompt = load_prompt("blind.md", tmp_path, ("question",))
    assert prompt.fill(question="Why {question}?") == 'Why {question}? in {"json": 1}, Why {question}?'
    assert prompt.stamp == f"blind.md {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    assert load_prompt("blind.md", None, ("question",)).stamp != prompt.stamp


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "can't be read: No such file"),
        (b"\xff", r"is no UTF-8 text"),
        (b" \n", "is empty"),
        (b"{object} and {objects}", r"holds \{object\}; it may hold \{objects\}, \{size\}"),
    ],
)
def test_an_unusable_prompt_is_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "annotate.md").write_bytes(content)
    with pytest.raises(InputError, match=f"annotate.md {sentence}"):
        load_prompt("annotate.md", tmp_path, ("objects", "size"))
