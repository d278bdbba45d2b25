"""The tagger's bars: sentences tagged by hand, and the embedded data set's own tags."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from neuraltuning.cli import main
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.errors import InputError
from neuraltuning.mmud.tag_score import TagScore, read_tagged, score_tags, tag_places, tagged_answers

HERE = Path(__file__).parent
DEVELOPED, HELD_OUT = HERE / "tagged_sentences.jsonl", HERE / "held_out_sentences.jsonl"
OBJECTS = '"width": 9, "height": 9, "objects": [{"category": "dog", "box": [1, 1, 2, 2]}]'


@pytest.mark.parametrize(("path", "least"), [(DEVELOPED, 60), (HELD_OUT, 30)])
def test_hand_tagged_sentences_are_tagged_again(path: Path, least: int) -> None:
    score = score_tags(read_tagged(path))
    assert score.answers >= least
    assert score.precision >= 0.95
    assert score.recall >= 0.85


def test_the_tags_of_scenes_are_found_again() -> None:
    score = score_tags(tagged_answers(SceneDataset("validation", 200, seed=0)))
    assert score.expected > 800
    assert score.precision >= 0.97
    assert score.recall >= 0.98


def test_a_tag_is_right_at_its_place_with_its_number() -> None:
    right = tag_places("The dog <OBJ-1> sees the cats <OBJ-2> <OBJ-3>.")
    assert right == tag_places("The dog<OBJ-1> sees the cats <OBJ-3> <OBJ-2>.")
    assert (right & tag_places("The dog sees <OBJ-1> the cats <OBJ-2> <OBJ-2>.")).total() == 1


def test_shares_of_nothing_are_whole() -> None:
    score = TagScore(answers=1, expected=0, placed=0, right=0)
    assert (score.precision, score.recall) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{" + OBJECTS + "}", r"line 2, answer: field required"),
        ("{" + OBJECTS + ', "answer": "The dog <OBJ-2>."}', r"line 2: <OBJ-2> is none of its 1 objects"),
        ("{" + OBJECTS.replace("[1, 1, 2, 2]", '"all"') + ', "answer": ""}', r"line 2, objects\.0\.box"),
        ("", "line 2, the record: invalid json"),
        ("no json", "line 2, the record: invalid json"),
        ("caf\udce9", "line 2, is no text in UTF-8"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        "{" + OBJECTS + ', "answer": "The dog <OBJ-1>."}\n' + line + "\n", encoding="utf-8", errors="surrogateescape"
    )
    with pytest.raises(InputError, match=message):
        score_tags(read_tagged(path))


def test_nothing_to_score_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.touch()
    with pytest.raises(InputError, match="no answer with tags"):
        score_tags(read_tagged(path))
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        score_tags(read_tagged(path))


@pytest.mark.parametrize("source", [[str(DEVELOPED)], ["scenes", "--split", "test", "--limit", "3"]])
def test_the_command_prints_precision_and_recall(
    source: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["neuraltuning", "mmud", "score-tags", *source])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert "precision" in capsys.readouterr().out
