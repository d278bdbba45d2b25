"""docs/your-own-data.md works as it is written: its commands, its template, its example."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neuraltuning.cli import main
from neuraltuning.data.sources.lines import read_lines
from neuraltuning.data.store import StoredSamples

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "write_easy_vqa.py"


def commands(start: str) -> list[list[str]]:
    """The page's command lines that begin so, up to its example."""
    code = "\n".join(re.findall(r"^```\n(.*?)^```", PAGE.partition("## An example")[0], re.DOTALL | re.MULTILINE))
    lines = code.replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith(start)]


def test_the_template_is_converted_checked_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ((*_, template, copy),) = commands("cp ")
    shutil.copytree(ROOT / template, copy)
    asked = commands("neuraltuning data ")
    assert [command[2] for command in asked] == ["convert", "check", "show"]
    for command in asked:
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as status:
            main()
        assert not status.value.code, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "train: 2 images, 0 left out" in said
    assert "Nothing was found." in said
    assert "The red cup" in Path("mine.html").read_text(encoding="utf-8")
    for split in ("train", "validation", "test"):
        for sample in StoredSamples(Path("data/mine") / split):
            assert sample.objects and sample.captions and sample.reasoning and sample.questions and sample.license
            assert all(item.phrases for item in sample.objects)


def test_the_line_on_the_page_is_one(tmp_path: Path) -> None:
    (line,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    shutil.copyfile(ROOT / "templates/own-data/pictures/fruit.png", tmp_path / "photos/a.jpg")
    shutil.copyfile(ROOT / "templates/own-data/masks/fruit-apple.png", tmp_path / "masks/a-dog.png")
    (tmp_path / "train.jsonl").write_text(json.dumps(json.loads(line)), encoding="utf-8")
    (entry,) = read_lines(tmp_path, tmp_path)["train"].entries
    assert [item.category for item in entry.read()[0].objects] == ["dog", "cup"]


def test_easy_vqa_becomes_lines(tmp_path: Path) -> None:
    pytest.importorskip("easy_vqa")
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "train: 3,500 pictures, 33,833 questions",
        "validation: 500 pictures, 4,742 questions",
        "test: 1,000 pictures, 9,673 questions",
        "without looking, always 'yes': 37.3% of the test split",
        "without looking, the usual answer to the same question: 67.0% of the test split",
    ]
    splits = read_lines(tmp_path / "out", tmp_path / "out")
    images = {
        name: {json.loads(line)["image"] for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()}
        for name in splits
    }
    assert not images["train"] & images["validation"]
    for split in splits.values():
        sample, _ = split.entries[7].read()
        assert sample.image.size == (64, 64)
        assert {question.kind for question in sample.questions} <= {"yes_no", "shape", "color"}


def test_the_example_says_what_it_needs() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "Give the folder to write: python examples/write_easy_vqa.py easy-vqa\n",
    )
