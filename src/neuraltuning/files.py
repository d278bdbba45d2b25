"""Writing files so that an interruption or a full disk never leaves half a file in place of a good one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuraltuning.errors import RunError

UNFINISHED = ".writing."
"""How the names of folders begin that `atomic_files` writes into; one that is left over is of a run that was killed."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, directory: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it to `path` when the block ends without an exception.

    Args:
        path: the final file (or folder, with `directory=True`); its parent is created where missing.
        directory: yield an existing empty folder instead of a file's path; an existing `path` is replaced as a whole.

    Raises:
        RunError: the disk is full, read-only or not permitted; what stood at `path` before is untouched.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if directory:
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            temporary.chmod(0o755)
        else:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
            os.close(handle)
            temporary = Path(name)
            temporary.chmod(0o644)
        yield temporary
        if directory and target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, retired / target.name)
            os.replace(temporary, target)
            shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        if temporary is not None and temporary.exists():
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_files(folder: str | os.PathLike[str], *, last: str) -> Iterator[Path]:
    """Yields an empty folder whose files replace those of `folder` when the block ends without an exception.

    Other files in `folder` stay. Unlike with `atomic_path(..., directory=True)` it may be a folder of the user's.

    Args:
        folder: where the files go; created where missing.
        last: the name of the file that is moved last, so that it is only there when all the others are.

    Raises:
        RunError: the disk is full, read-only or not permitted; the files of before are untouched.
    """
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=target) as temporary:
            yield Path(temporary)
            for path in sorted(Path(temporary).iterdir(), key=lambda path: path.name == last):
                os.replace(path, target / path.name)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> RunError:
    return RunError(
        f"Could not write {target}: {error.strerror or error}. What was there before is untouched; "
        "free some space or choose another folder, then run the command again."
    )


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, atomically.

    Raises:
        RunError: the file could not be written (see `atomic_path`).
        TypeError: `value` holds something that JSON can't express.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
