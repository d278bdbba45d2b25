from __future__ import annotations

from pathlib import Path

import pytest

from neuraltuning.errors import InputError
from neuraltuning.mmud.records import Tagging, untag
from neuraltuning.mmud.workspace import Journal, Workspace
from tests.mmud.data import write_data


def test_a_workspace_finds_each_sample_of_its_data(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "work", write_data(tmp_path / "data", train=20, test=3))
    assert len(workspace.ids()) == 23
    for item in ("train/scenes-train-000017", "test/scenes-test-000002"):
        assert workspace.sample(item).id == item.partition("/")[2]


def test_a_workspace_keeps_to_its_data(tmp_path: Path) -> None:
    first, other = (write_data(tmp_path / name, train=1) for name in ("a", "b"))
    Workspace.create(tmp_path / "work", first)
    assert Workspace.create(tmp_path / "work", first).data == first.resolve()
    with pytest.raises(InputError, match="was begun with"):
        Workspace.create(tmp_path / "work", other)
    with pytest.raises(InputError, match="holds no validation/x"):
        Workspace(tmp_path / "work").sample("validation/x")


def test_what_is_no_workspace_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no workspace\.json"):
        Workspace(tmp_path)
    with pytest.raises(InputError, match="is no data set"):
        Workspace.create(tmp_path / "work", tmp_path)


def test_a_line_that_was_cut_off_is_passed_over_and_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "taggings.jsonl", Tagging)
    journal.append(Tagging(id="a", answer="one"))
    with journal.path.open("ab") as file:
        file.write(b'{"id": "b", "ans')
    assert [record.id for record in journal] == ["a"]
    journal = Journal(journal.path, Tagging)  # the next run
    journal.append(Tagging(id="c", answer="three"))
    journal.append(Tagging(id="a", answer="four"))
    assert [record.id for record in journal] == ["a", "c", "a"]
    assert journal.last()["a"].answer == "four"


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "taggings.jsonl", Tagging)
    journal.path.write_text('{"id": "a", "answer": 3}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"taggings\.jsonl, line 1, answer"):
        list(journal)


def test_tags_become_those_of_samples() -> None:
    answer = "The cat <OBJ-2> and the dog <OBJ-1>; it <OBJ-2> sleeps."
    assert untag(answer) == ("The cat <OBJ> and the dog <OBJ>; it <OBJ> sleeps.", (1, 0, 1))
