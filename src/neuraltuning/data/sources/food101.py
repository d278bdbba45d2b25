"""UPMC Food-101 (Wang et al. 2015): web pages about 101 dishes, each a picture and the page's title.

    images/train/apple_pie/apple_pie_0.jpg
    texts/train_titles.csv                  apple_pie_0.jpg,"Apple Pie Recipe",apple_pie

The layout is taken from the code of others. The development samples are drawn by a stated rule, see `DEVELOPMENT`.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neuraltuning.data.sample import QuestionAnswer, Sample
from neuraltuning.data.sources.base import Entry, Split, read_picture
from neuraltuning.errors import InputError

SPLITS = ("train", "test")
DEVELOPMENT = 5_000
"""Training samples that are set aside as the validation split, or a tenth of them where that is fewer: those whose
SHA-256 of "seed/label/file" is smallest, so that neither the order of a file nor a library's version matters."""
SEED = 0
"""Of the development samples."""
LICENSE = "LicenseRef-UPMC-Food-101"
QUESTION = "Which dish does this page show?"
TITLE = " Its title is: {}"


@dataclass(frozen=True)
class Page:
    """A line of a file of titles."""

    split: str
    file: str
    title: str
    label: str

    @property
    def source(self) -> str:
        """The name of the file."""
        return f"{self.split}_titles.csv"


def read_food101(folder: Path, images: Path) -> dict[str, Split]:
    """Training, validation (drawn from the training samples) and test, as far as they are there.

    Args:
        folder: with `texts/train_titles.csv` and `texts/test_titles.csv`, or the two files themselves.
        images: with the folders images/train and images/test of a folder a label.

    Raises:
        InputError: there is no file of titles, or one is damaged.
    """
    pages = {split: _read_titles(folder, split) for split in SPLITS}
    if not any(pages.values()):
        raise InputError(f"{folder} holds neither texts/train_titles.csv nor texts/test_titles.csv of UPMC Food-101.")
    train = sorted(pages["train"], key=_draw)
    count = min(DEVELOPMENT, len(train) // 10)
    drawn = set(train[:count])
    pages["validation"] = [page for page in pages["train"] if page in drawn]
    pages["train"] = [page for page in pages["train"] if page not in drawn]
    splits = {}
    for split, own in pages.items():
        entries = [Entry(page.file, partial(_read, split, page, images)) for page in own]
        if entries:
            splits[split] = Split(entries, {"pages": len(entries)}, file=own[0].source)
    return splits


def _draw(page: Page) -> str:
    return hashlib.sha256(f"{SEED}/{page.label}/{page.file}".encode()).hexdigest()


def _read_titles(folder: Path, split: str) -> list[Page]:
    path = next((p for p in (folder / "texts", folder) if (p / f"{split}_titles.csv").is_file()), None)
    if path is None:
        return []
    path /= f"{split}_titles.csv"
    pages = []
    number = 0
    try:
        with path.open("rb") as file:
            lines = (line.decode("utf-8" if place else "utf-8-sig") for place, line in enumerate(file))
            for number, row in enumerate(csv.reader(lines), start=1):
                if len(row) != 3:
                    raise InputError(f"{path}, record {number}: {len(row)} fields instead of file, title and label.")
                if not row[0].strip() or not row[2].strip():
                    raise InputError(f"{path}, record {number}: an empty file name or label.")
                pages.append(Page(split, row[0].strip(), " ".join(row[1].split()), row[2].strip()))
    except OSError as error:
        raise InputError(f"The file {path} can't be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}, record {number + 1}, is no UTF-8 text of three columns ({error}); get a complete copy."
        ) from error
    return pages


def _read(split: str, page: Page, images: Path) -> tuple[Sample, bytes]:
    picture, data = read_picture(images, f"images/{page.split}/{page.label}/{page.file}")
    question = QUESTION + (TITLE.format(page.title) if page.title else "")
    answer = QuestionAnswer(question, page.label.replace("_", " "), "")
    identity = f"food-101-{split}-{page.label}-{Path(page.file).stem}"
    return Sample(identity, picture, questions=(answer,), source="food-101", license=LICENSE), data
