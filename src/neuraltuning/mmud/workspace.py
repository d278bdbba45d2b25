"""The working folder that the steps share.

workspace.json       where the images come from: a data set that `neuraltuning data convert` wrote
annotations.jsonl    annotate; failures.jsonl: replies that could not be used
verdicts.jsonl       filter; blind_answers.jsonl: what a model says without the image, blind_failures.jsonl: nothing
taggings.jsonl       tag
reviews.jsonl        review
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from neuraltuning.data.sample import Sample
from neuraltuning.data.store import PATTERN, StoredSamples
from neuraltuning.errors import InputError, RunError
from neuraltuning.files import write_json
from neuraltuning.mmud.records import Annotation, BlindAnswer, Failure, Record, Review, Tagging, Verdict

T = TypeVar("T", bound=Record)

SETTINGS = "workspace.json"


class Journal(Generic[T]):
    """A JSON-lines file of records. A record is on the disk when `append` returns; safe for several threads."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path, self.kind = path, kind
        self._lock = threading.Lock()
        self._mended = False

    def __iter__(self) -> Iterator[T]:
        """All records in the order in which they were written.

        Raises:
            InputError: a line is damaged; a last one without its end, which a killed process leaves, is passed over.
        """
        if not self.path.is_file():
            return
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                yield self.kind.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise InputError(
                    f"{self.path}, line {number}, {place or 'the record'}: {first['msg'].lower()}."
                ) from error

    def last(self) -> dict[str, T]:
        """Id -> its last record."""
        return {record.id: record for record in self}

    def append(self, record: T) -> None:
        """Writes a record.

        Raises:
            RunError: the disk is full, or the file can't be written.
        """
        line = record.model_dump_json().encode() + b"\n"
        with self._lock:
            try:
                if not self._mended:
                    self._cut_off_half_a_line()
                with self.path.open("ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise RunError(
                    f"Could not write {self.path}: {error.strerror or error}. What it holds is kept; run again."
                ) from error

    def _cut_off_half_a_line(self) -> None:
        if self.path.is_file():
            os.truncate(self.path, self.path.read_bytes().rfind(b"\n") + 1)
        self._mended = True


class Workspace:
    """A working folder.

    Attributes:
        folder: it.
        data: the data set's folder.
        annotations, failures, verdicts, blind_answers, blind_failures, taggings, reviews: what the steps wrote.
    """

    def __init__(self, folder: Path) -> None:
        """Opens one.

        Raises:
            InputError: it is none, or its data set is gone.
        """
        try:
            self.data = Path(json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["data"])
        except OSError as error:
            raise InputError(f"{folder} holds no {SETTINGS}; `neuraltuning mmud annotate` begins a folder.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / SETTINGS} is damaged: it names no data.") from error
        if not self.data.is_dir():
            raise InputError(f"{folder / SETTINGS} names the data set {self.data}, which is gone.")
        self.folder = folder
        self.annotations = Journal(folder / "annotations.jsonl", Annotation)
        self.failures = Journal(folder / "failures.jsonl", Failure)
        self.verdicts = Journal(folder / "verdicts.jsonl", Verdict)
        self.blind_answers = Journal(folder / "blind_answers.jsonl", BlindAnswer)
        self.blind_failures = Journal(folder / "blind_failures.jsonl", Failure)
        self.taggings = Journal(folder / "taggings.jsonl", Tagging)
        self.reviews = Journal(folder / "reviews.jsonl", Review)
        self._splits: dict[str, StoredSamples] | None = None
        self._places: dict[str, tuple[str, int]] | None = None

    @classmethod
    def create(cls, folder: Path, data: Path) -> Workspace:
        """Begins a working folder, or opens the one that was begun with the same data set.

        Raises:
            InputError: `data` is no data set, or the folder belongs to another one.
        """
        if not data.is_dir() or not any(data.glob(f"*/{PATTERN}")):
            raise InputError(f"{data} is no data set; write one with: neuraltuning data convert.")
        if (folder / SETTINGS).is_file():
            opened = cls(folder)
            if opened.data.resolve() != data.resolve():
                raise InputError(f"{folder} was begun with {opened.data}; give that, or another folder.")
            return opened
        write_json(folder / SETTINGS, {"data": str(data.resolve())})
        return cls(folder)

    @contextlib.contextmanager
    def lock(self, step: str) -> Iterator[None]:
        """Keeps a second process from doing the same step, and paying for it twice.

        Raises:
            InputError: another one is at it.
        """
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / f".{step}.lock", timeout=0):
                yield
        except Timeout as error:
            raise InputError(f"Another `mmud {step}` works in {self.folder}; wait until it ends.") from error

    def ids(self) -> list[str]:
        """The ids of all items, split by split in the data set's order."""
        return list(self._index())

    def sample(self, item: str) -> Sample:
        """The sample of an item.

        Raises:
            InputError: the data set holds no such item, or it is damaged.
        """
        return self.read(item)[0]

    def read(self, item: str) -> tuple[Sample, bytes]:
        """The sample of an item and its picture's file, see `sample`."""
        if item not in self._index():
            raise InputError(f"{self.data} holds no {item}, which {self.folder} names; it is another data set now.")
        split, place = self._index()[item]
        assert self._splits is not None
        return self._splits[split].read(place)

    def _index(self) -> dict[str, tuple[str, int]]:
        if self._places is None:
            folders = sorted(path.parent for path in self.data.glob(f"*/{PATTERN}"))
            self._splits = {path.name: StoredSamples(path) for path in dict.fromkeys(folders)}
            self._places = {
                f"{split}/{name}": (split, place)
                for split, samples in self._splits.items()
                for place, name in enumerate(samples.ids())
            }
        return self._places
