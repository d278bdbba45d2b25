"""Scenes on disk: PNG images, one JSON-lines file with COCO RLE masks, and the licence beside them.

A folder holds `images/<id>.png`, `samples.jsonl` (one `Sample` a line, without its pixels) and `LICENSE.txt`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from neuraltuning.data.sample import PHRASE_KINDS, ObjectAnnotation, Phrase, QuestionAnswer, Sample
from neuraltuning.data.scenes.dataset import SceneDataset
from neuraltuning.data.scenes.sprites import ATTRIBUTION
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path

SAMPLES_FILE = "samples.jsonl"
LICENSE_FILE = "LICENSE.txt"
IMAGE_FOLDER = "images"


def write_scenes(directory: str | os.PathLike[str], split: str, size: int | None = None, seed: int = 0) -> Path:
    """Generates a split and writes it to a folder, which is replaced as a whole when everything is written.

    Args:
        directory: the folder to write. An existing one must be empty or hold an earlier copy of Scenes.
        split, size, seed: see `SceneDataset`.

    Returns:
        The folder.

    Raises:
        InputError: there is no such split, or the folder holds other things.
        RunError: the folder could not be written.
    """
    samples = SceneDataset(split, size, seed)
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for Scenes.")
    if target.is_dir() and any(target.iterdir()) and not (target / SAMPLES_FILE).is_file():
        raise InputError(f"{target} holds other files, which would be lost; name an empty or a new folder for Scenes.")
    with atomic_path(target, directory=True) as folder:
        (folder / IMAGE_FOLDER).mkdir()
        (folder / LICENSE_FILE).write_text(ATTRIBUTION + "\n", encoding="utf-8")
        with (folder / SAMPLES_FILE).open("w", encoding="utf-8") as lines:
            for sample in samples:
                name = f"{IMAGE_FOLDER}/{sample.id}.png"
                sample.image.save(folder / name)
                lines.write(json.dumps({"image": name, **_to_record(sample)}) + "\n")
    return target


def read_scenes(directory: str | os.PathLike[str]) -> list[Sample]:
    """Reads what `write_scenes` wrote.

    Raises:
        InputError: a file is missing or damaged, or a line isn't a sample; the sentence names file and line.
    """
    folder = Path(directory)
    path = folder / SAMPLES_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Could not read {path} ({error}); write it with: neuraltuning data scenes.") from error
    lines = enumerate(text.splitlines(), start=1)
    return [_from_line(folder, line, f"{path}, line {number}") for number, line in lines]


def _to_record(sample: Sample) -> dict[str, Any]:
    """Returns the sample without its image as plain lists and dicts."""
    return {
        "id": sample.id,
        "objects": [
            {
                "category": item.category,
                "supercategory": item.supercategory,
                "mask": _encode(item.mask),
                "box": list(item.box),
                "phrases": [{"text": phrase.text, "kind": phrase.kind} for phrase in item.phrases],
            }
            for item in sample.objects
        ],
        "captions": list(sample.captions),
        "reasoning": [_question_record(question) for question in sample.reasoning],
        "questions": [_question_record(question) for question in sample.questions],
        "source": sample.source,
        "license": sample.license,
    }


def _question_record(question: QuestionAnswer) -> dict[str, Any]:
    return {
        "question": question.question,
        "answer": question.answer,
        "kind": question.kind,
        "objects": list(question.objects),
    }


def _encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Returns the mask as a compressed COCO RLE with its counts as text."""
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def _from_line(folder: Path, line: str, where: str) -> Sample:
    try:
        record = json.loads(line)
        image = _read_image(folder / record["image"], where)
        return Sample(
            id=record["id"],
            image=image,
            objects=tuple(_object(item, (image.height, image.width)) for item in record["objects"]),
            captions=tuple(record["captions"]),
            reasoning=tuple(_question(item, len(record["objects"])) for item in record["reasoning"]),
            questions=tuple(_question(item, len(record["objects"])) for item in record["questions"]),
            source=record["source"],
            license=record["license"],
        )
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{where}: the field {error} is missing; write the data set again.") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: not a sample of Scenes ({error}); write the data set again.") from error


def _read_image(path: Path, where: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"{where}: could not read the image {path} ({error}); write the data set again.") from error


def _object(record: dict[str, Any], size: tuple[int, int]) -> ObjectAnnotation:
    rle = record["mask"]
    if tuple(rle["size"]) != size:
        raise ValueError(f"the mask's size {rle['size']} is not the image's, {list(size)}")
    kinds = {phrase["kind"] for phrase in record["phrases"]}
    if not kinds.issubset(PHRASE_KINDS):
        raise ValueError(f"unknown kind of phrase {sorted(kinds.difference(PHRASE_KINDS))[0]!r}")
    x, y, width, height = (float(value) for value in record["box"])
    return ObjectAnnotation(
        category=record["category"],
        supercategory=record["supercategory"],
        mask=_decode(rle["counts"], size),
        box=(x, y, width, height),
        phrases=tuple(Phrase(phrase["text"], phrase["kind"]) for phrase in record["phrases"]),
    )


def _decode(counts: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decodes a compressed COCO RLE; in Python, because the C decoder writes out of bounds on a damaged one.

    Args:
        counts: the runs as text.
        size: height and width.

    Raises:
        ValueError: the runs don't add up to the number of pixels.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        # Six bits a character from "0": five of the number, one that says whether more follow (COCO's maskApi.c).
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the mask's counts hold the character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        # From the third run on, the difference to the run before the last is stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    height, width = size
    if shift or any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f"the mask's runs add up to {sum(runs)} pixels instead of {height * width}")
    # Runs of 0 and 1 in turn, column by column.
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T.copy()


def _question(record: dict[str, Any], object_count: int) -> QuestionAnswer:
    objects = tuple(int(index) for index in record["objects"])
    if any(not 0 <= index < object_count for index in objects):
        raise ValueError(f"a question names object {max(objects)} of {object_count}")
    return QuestionAnswer(record["question"], record["answer"], record["kind"], objects)
