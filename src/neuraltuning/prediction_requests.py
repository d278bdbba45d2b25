"""What `neuraltuning predict` is asked: one request a line of a file, or one for each picture of a folder.

A file may be of any length: it is checked as a whole first and then read line by line. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from neuraltuning.configuration import Settings, validate_settings
from neuraltuning.errors import InputError

MAX_TEXT = 100_000
"""Longest accepted text in characters; how much a model takes depends on its context, and it says so itself."""

MAX_LINE = 4 * MAX_TEXT + 100_000
"""Longest line that is read, in characters: one with the longest text, all of it escaped, still fits."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
"""What counts as a picture in a folder of requests."""

_NAMED = re.compile(r"[A-Za-z0-9][\w.-]{0,119}", re.ASCII)


class Request(Settings):
    """What is asked: one line of a requests file.

    Attributes:
        id: names the answer's folder; unique among the requests of a run.
        text: what the model is told.
        image: path of the picture it is about, relative to the requests file; None where there is none.
        seed: of what is drawn at random; the same seed gives the same picture.
        max_new_tokens: length at which the reply is cut off; None for the model's own.
    """

    id: str = ""
    text: str
    image: str | None = None
    seed: int = Field(0, ge=0, lt=2**63)
    max_new_tokens: int | None = Field(None, ge=1)


def make_request(fields: dict[str, Any], where: str) -> Request:
    """A request from its fields, checked.

    Raises:
        InputError: an unknown field, a wrong type, or an empty or endless text; the sentence begins with `where`.
    """
    request = validate_settings(Request, fields, where)
    if not request.text.strip():
        raise InputError(f"{where}: the text is empty; write what the model is to do.")
    if len(request.text) > MAX_TEXT:
        raise InputError(f"{where}: the text has {len(request.text):,} characters; at most {MAX_TEXT:,} are taken.")
    return request


class RequestsFile:
    """A JSON-lines file of requests: `{"id": "a", "image": "cat.jpg", "text": "Please segment the cat."}`.

    Relative image paths start at the file's folder. A request without `id` is named by its line: "line-000012". Going
    through it reads it again, a line at a time.
    """

    def __init__(self, path: Path) -> None:
        """Checks every line; of each request 8 bytes are kept meanwhile, and nothing afterwards.

        Raises:
            InputError: no such file, a line that is no request, or an id that is no file name or stands twice; the
                sentence names file and line.
        """
        self.path = path
        marks = array("Q")
        for _, request in self._numbered():
            marks.append(_mark(request.id))
        if not marks:
            raise InputError(f"The requests file {path} holds no request.")
        self._length = len(marks)
        ordered = np.sort(np.frombuffer(marks, dtype=np.uint64))
        suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
        if suspects:
            self._refuse_twins(suspects)

    def __len__(self) -> int:
        """Its requests, as it was when it was checked."""
        return self._length

    def __iter__(self) -> Iterator[Request]:
        """The requests in order.

        Raises:
            InputError: the file was changed into one that can't be read.
        """
        return (request for _, request in self._numbered())

    def _numbered(self) -> Iterator[tuple[int, Request]]:
        """The requests with their lines' numbers."""
        for number, line in self._lines():
            if line.strip():
                where = f"{self.path}, line {number}"
                yield number, self._request(line, number, where)

    def _lines(self) -> Iterator[tuple[int, str]]:
        try:
            # only line feeds end a line
            with self.path.open(encoding="utf-8-sig", newline="\n") as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    if len(line) > MAX_LINE:
                        raise InputError(
                            f"{self.path}, line {number}: longer than {MAX_LINE:,} characters; write one object a line."
                        )
                    yield number, line
        except FileNotFoundError:
            raise InputError(f"There is no requests file {self.path}.") from None
        except UnicodeDecodeError:
            raise InputError(f"The requests file {self.path} is not UTF-8 text; save it as JSON lines.") from None
        except OSError as error:
            raise InputError(f"The requests file {self.path} can't be read: {error.strerror or error}.") from error

    def _request(self, line: str, number: int, where: str) -> Request:
        request = make_request(_parse_line(line, where), where)
        identity = request.id or f"line-{number:06d}"
        if not _NAMED.fullmatch(identity):
            raise InputError(
                f"{where}: the id {identity[:60]!r} can't name a folder; use letters, digits, dots, dashes and "
                "underscores, at most 120."
            )
        image = None if request.image is None else str(self.path.parent / Path(request.image).expanduser())
        return request.model_copy(update={"id": identity, "image": image})

    def _refuse_twins(self, suspects: set[int]) -> None:
        """Raises if two ids are equal, and not only their marks."""
        seen: dict[str, int] = {}
        for number, request in self._numbered():
            if _mark(request.id) not in suspects:
                continue
            if request.id in seen:
                raise InputError(
                    f"{self.path}, line {number}: the id {request.id!r} is that of line {seen[request.id]} too; ids "
                    "are unique."
                )
            seen[request.id] = number


def folder_requests(folder: Path, text: str, seed: int = 0) -> list[Request]:
    """One request with the same text for each picture in a folder, in the order of their names, named by them.

    Raises:
        InputError: no such folder, no picture in it, or an unusable text.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder of images {folder}.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"The folder {folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    fields = {"text": text, "seed": seed}
    return [make_request({"id": path.name, "image": str(path), **fields}, str(folder)) for path in paths]


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: no JSON ({error.msg}, column {error.colno}); write one object a line.") from error
    except RecursionError:
        raise InputError(f"{where}: JSON nested too deeply; write one object a line.") from None
    if not isinstance(data, dict):
        raise InputError(f'{where}: not an object; write {{"image": "cat.jpg", "text": "..."}}.')
    return data


def _mark(identity: str) -> int:
    """A number that tells nearly all ids apart."""
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "little")
