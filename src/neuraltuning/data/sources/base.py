"""What a reader of a published format gives, and what several of them need. Knows no format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, TypeAdapter, ValidationError

from neuraltuning.data.images import decode_image
from neuraltuning.data.masks import mask_from_segmentation
from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError
from neuraltuning.reply import mask_box

T = TypeVar("T", bound=BaseModel)


class BadRecord(ValueError):
    """A record that can't become a sample; the message is what is wrong with it, without its name."""


@dataclass(frozen=True)
class Entry:
    """One image of a split, still unread.

    Attributes:
        name: what its maker calls it: "image 581857".
        read: gives the sample and its picture's file; raises `BadRecord`, or `InputError` about its picture.
    """

    name: str
    read: Callable[[], tuple[Sample, bytes]]


@dataclass(frozen=True)
class Split:
    """One split of a published data set.

    Attributes:
        entries: its images.
        counts: what is counted in the literature, by name: {"images": ..., "refs": ..., "sentences": ...}.
        published: the counts that its makers or the literature give, as far as they are known.
        file: name of the file that its records stand in, for sentences; "" where each is a file of its own.
    """

    entries: list[Entry]
    counts: dict[str, int]
    published: Mapping[str, int] = field(default_factory=dict)
    file: str = ""

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: there is no such file, or it is no JSON in UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"The file {path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8, as JSON is ({error}); save it in that encoding.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}); get a complete copy.") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that aren't blank, each with its number, from 1 on.

    Raises:
        InputError: there is no such file, or it is no text in UTF-8.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if text := line.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                    yield number, text
    except OSError as error:
        raise InputError(f"The file {path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}, is no text in UTF-8 ({error}); save it in that encoding.") from error


def parse(kind: type[T], values: Any, path: Path, what: str) -> list[T]:
    """A list of records, each checked.

    Args:
        kind: what a record has to be.
        values: the list.
        path: the file, for the sentence.
        what: a record of it in a word: "ref".

    Raises:
        InputError: one isn't; the sentence names file, record and field.
    """
    try:
        return TypeAdapter(list[kind]).validate_python(values)  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "the whole of it"
        number = f"{what} {first['loc'][0]}" if first["loc"] else "the file"
        raise InputError(f"{path}, {number}, {place}: {first['msg'].lower()}.") from error


def parse_one(kind: type[T], text: str) -> T:
    """A record in JSON, checked.

    Raises:
        BadRecord: it is no JSON, or a field isn't what it should be.
    """
    try:
        return kind.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole of it"
        raise BadRecord(f"{place}: {first['msg'].lower()}") from error
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"it is no JSON ({error})") from error


def read_picture(folder: Path, name: str, size: tuple[int, int] | None = None) -> tuple[Image.Image, bytes]:
    """A picture and its file's bytes.

    Args:
        folder: with the pictures; nothing outside of it is read.
        name: of the file, relative to the folder; backslashes count as slashes.
        size: height and width that the annotations are about, where they say so.

    Raises:
        BadRecord: there is no such file in the folder, or the picture has another size.
        InputError: the picture is damaged.
    """
    path, data = read_file(folder, name, "image")
    image = decode_image(data, f"The image {path}")
    if size is not None and (image.height, image.width) != size:
        raise BadRecord(
            f"its image {path} has {image.height} rows and {image.width} columns, but its annotations are about "
            f"{size[0]} and {size[1]}"
        )
    return image, data


def read_file(folder: Path, name: str, what: str) -> tuple[Path, bytes]:
    """The path and the bytes of a file in a folder; `what` it is, for the sentence.

    Raises:
        BadRecord: there is no such file in the folder.
    """
    try:
        path = (folder / name.replace("\\", "/")).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a loop of links
        raise BadRecord(f"its {what} {name!r} is no file's name") from error
    if not path.is_relative_to(folder.resolve()):
        raise BadRecord(f"its {what} {name!r} lies outside of {folder}")
    try:
        return path, path.read_bytes()
    except OSError as error:
        raise BadRecord(f"its {what} {path} can't be read: {error.strerror or error}") from error


def read_mask(
    folder: Path, name: str, size: tuple[int, int]
) -> tuple[NDArray[np.bool_], tuple[float, float, float, float]]:
    """The mask in a picture, grey above 127 (edges are often softened), and its box.

    Args:
        folder, name: as of `read_picture`.
        size: height and width of the image.

    Raises:
        BadRecord: there is no such file in the folder, it has another size, or it covers nothing.
        InputError: the picture is damaged.
    """
    path, data = read_file(folder, name, "mask")
    pixels = np.asarray(decode_image(data, f"The mask {path}").convert("L"))
    if pixels.shape != size:
        raise BadRecord(f"the mask {path} has {pixels.shape[0]} rows and {pixels.shape[1]} columns, not {size}")
    return _filled(pixels > 127)


def object_mask(
    segmentation: Any, size: tuple[int, int]
) -> tuple[NDArray[np.bool_], tuple[float, float, float, float]]:
    """The mask of an object, see `mask_from_segmentation`, and its box.

    Raises:
        BadRecord: the segmentation is none, doesn't fit the size (height, width), or covers nothing.
    """
    try:
        mask = mask_from_segmentation(segmentation, *size)
    except ValueError as error:
        raise BadRecord(str(error)) from error
    return _filled(mask)


def _filled(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], tuple[float, float, float, float]]:
    if not mask.any():
        raise BadRecord("the mask is empty")
    return mask, mask_box(mask)
