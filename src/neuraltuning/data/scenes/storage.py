"""Scenes on disk: PNG images, one JSON-lines file with COCO RLE masks, and the licence beside them.

A folder holds `images/<id>.png`, `samples.jsonl` (one `Sample` a line, without its pixels) and `LICENSE.txt`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from neuraltuning.data.records import from_record, to_record
from neuraltuning.data.sample import Sample
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
                lines.write(json.dumps({"image": name, **to_record(sample)}) + "\n")
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


def _from_line(folder: Path, line: str, where: str) -> Sample:
    try:
        record = json.loads(line)
        image = _read_image(folder / record["image"], where)
        return from_record(record, image)
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
