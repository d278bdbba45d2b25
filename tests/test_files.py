from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from neuraltuning.errors import RunError
from neuraltuning.files import atomic_files, atomic_path, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.json"
    write_json(target, {"oiou": 0.5})
    write_json(target, {"oiou": 0.75})
    assert json.loads(target.read_text()) == {"oiou": 0.75}
    assert names(target.parent) == ["scores.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x")])
def test_interrupted_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "scores.json"
    target.write_text("good")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_text("ba")
        raise error
    assert target.read_text() == "good"
    assert names(tmp_path) == ["scores.json"]


def test_full_disk_is_a_run_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    target.write_text("good")
    with pytest.raises(RunError, match=r"Could not write .*scores\.json: No space left on device"), atomic_path(target):
        raise disk_full()
    assert target.read_text() == "good"
    assert names(tmp_path) == ["scores.json"]


def test_unserialisable_value_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert (tmp_path / "a.json").read_text() == "1\n"


def test_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("old", "new"):
        with atomic_path(target, directory=True) as temporary:
            (temporary / name).write_text(name)
    assert names(target) == ["new"]
    assert names(tmp_path) == ["model"]


def test_interrupted_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RunError), atomic_path(target, directory=True) as temporary:
        (temporary / "new").touch()
        raise disk_full()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["model"]


def test_files_join_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("own")
    (tmp_path / "reply.json").write_text("old")
    with atomic_files(tmp_path, last="reply.json") as temporary:
        (temporary / "reply.json").write_text("new")
        (temporary / "mask.png").write_text("mask")
    assert names(tmp_path) == ["mask.png", "own.txt", "reply.json"]
    assert (tmp_path / "reply.json").read_text() == "new"


def test_interrupted_files_leave_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "reply.json").write_text("old")
    with pytest.raises(RunError), atomic_files(tmp_path, last="reply.json") as temporary:
        (temporary / "reply.json").write_text("new")
        raise disk_full()
    assert names(tmp_path) == ["reply.json"]
    assert (tmp_path / "reply.json").read_text() == "old"


def test_last_file_is_moved_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neuraltuning import files

    moved: list[str] = []
    replace = files.os.replace

    def watched(source: Path, target: Path) -> None:
        moved.append(target.name)
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", watched)
    with atomic_files(tmp_path, last="a.json") as temporary:
        for name in ("a.json", "b.png", "c.png"):
            (temporary / name).touch()
    assert moved[-1] == "a.json"
    assert len(moved) == 3


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="choose another folder"):
        write_json(tmp_path / "file" / "a.json", 1)
