"""Samples on disk as Parquet shards with their images inside or beside: `DIR/<split>/part-00000.parquet`, ...

Written in one pass, read by place without loading the rest. The columns are plain lists and structures, so other
programs read them too (`datasets.load_dataset("parquet", data_files="DIR/train/*.parquet")`). Knows nothing of where
samples come from.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from PIL import Image

from neuraltuning.data.images import decode_image
from neuraltuning.data.location import Location
from neuraltuning.data.records import from_record, to_record
from neuraltuning.data.sample import Sample
from neuraltuning.data.shards import MANIFEST, PATTERN, Shards, find_splits, read_manifest
from neuraltuning.errors import InputError

if TYPE_CHECKING:
    import pyarrow

SHARD_BYTES = 256 * 2**20
"""Encoded images of a shard, about."""
SHARD_SAMPLES = 16_384
"""Samples of a shard at most, so that its footer stays small."""
ROW_GROUP = 16
"""Samples that are read at once."""
PICTURES = "pictures"
"""Folder beside the shards for pictures that aren't inside."""
LATER = frozenset(("expressions",))
"""Columns that data sets of earlier versions lack."""


class SplitWriter:
    """Writes the shards of one split into an existing empty folder; a context manager.

    Attributes:
        shards: name -> samples of each shard so far.
    """

    def __init__(self, folder: Path, *, beside: bool = False) -> None:
        """Writes nothing yet; with `beside`, pictures become files of their own, in `PICTURES` beside the shards."""
        self.folder, self.beside = folder, beside
        self.shards: dict[str, int] = {}
        self._schema = _schema()
        self._writer: Any = None
        self._bytes = 0
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, sample: Sample, image: bytes) -> dict[str, Any]:
        """Appends a sample; `image` is its picture's file, kept as it is. Returns its record (`to_record`).

        Raises:
            UnicodeEncodeError: a text holds half a character (JSON and pickles can); nothing was appended.
        """
        record = to_record(sample)
        json.dumps(record, ensure_ascii=False).encode()  # here, because pyarrow refuses it only with its row group
        size = {"width": sample.image.width, "height": sample.image.height}
        inside = None if self.beside else image
        path = self._write_picture(image) if self.beside else None
        self._rows.append({"image": {"bytes": inside, "path": path}, **size, **record})
        self._bytes += len(inside or b"")
        if len(self._rows) == ROW_GROUP:
            self._flush()
            if self._bytes > SHARD_BYTES or list(self.shards.values())[-1] >= SHARD_SAMPLES:
                self._writer.close()
                self._writer, self._bytes = None, 0
        return record

    def _write_picture(self, image: bytes) -> str:
        """Writes a picture's file and returns its name, relative to the shards."""
        number = sum(self.shards.values()) + len(self._rows)
        suffix = (Image.open(io.BytesIO(image)).format or "image").lower().replace("jpeg", "jpg")
        name = f"{PICTURES}/{number // 1000:05d}/{number:08d}.{suffix}"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        return name

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if not self._rows and self.shards:
            return
        if self._writer is None:
            name = f"part-{len(self.shards):05d}.parquet"
            self._writer = pyarrow.parquet.ParquetWriter(self.folder / name, self._schema, compression="zstd")
            self.shards[name] = 0
        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self.shards[next(reversed(self.shards))] += len(self._rows)
        self._rows = []


class StoredSamples(Sequence[Sample]):
    """The samples of one split, in a folder or at an address, each read when it is asked for."""

    def __init__(self, folder: Path | Location, places: range | None = None, *, shards: Shards | None = None) -> None:
        """Opens a split.

        Args:
            folder: with the shards.
            places: of the samples that this sequence holds, counted over all shards; all of them by default.
            shards: those of the folder, where they are open already.

        Raises:
            InputError: there is no shard, one is damaged, or the address can't be reached.
        """
        self.folder = folder
        self.shards = shards or Shards(_location(folder), required_columns())
        self.places = range(len(self.shards)) if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    def ids(self) -> list[str]:
        """The samples' ids, without reading the rest."""
        names = [str(row["id"]) for rows in self.shards.batches(lambda column: column == "id") for row in rows]
        return [names[place] for place in self.places]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> StoredSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | StoredSamples:
        if isinstance(index, slice):
            return StoredSamples(self.folder, self.places[index], shards=self.shards)
        return self.read(index)[0]

    def read(self, index: int) -> tuple[Sample, bytes]:
        """A sample and its picture's file, as it was written.

        Raises:
            InputError: its shard or its record is damaged.
            RunError: its address can't be reached any more.
        """
        place = self.places[index]
        record = self.shards.row(place)
        where = f"{self.shards.path(place)}, sample {record.get('id')}"
        picture = record["image"] or {}
        data: bytes = picture.get("bytes") or self._beside(picture.get("path"), where)
        image = decode_image(data, f"{where}: its image")
        try:
            return from_record(record, image), data
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{where}: {error}; convert the data set again.") from error

    def _beside(self, name: str | None, where: str) -> bytes:
        """The file of a picture that stands beside the shards."""
        if not name:
            return b""
        parts = name.split("/")
        if parts[0] != PICTURES or ".." in parts or set(name) & set(":\\?#"):
            raise InputError(f"{where}: its image {name!r} is no file of {PICTURES}; convert the data set again.")
        data = (_location(self.folder) / name).read()
        if data is None:
            raise InputError(f"{where}: its image {name} is missing; copy {PICTURES} together with the shards.")
        return data

    def texts(self) -> Iterator[dict[str, Any]]:
        """The records of all samples in order, without pictures and masks, a few at a time.

        Raises:
            InputError: a shard is damaged.
        """
        place = 0
        for rows in self.shards.batches(lambda c: not c.startswith(("image.", "ignored.")) and ".mask." not in c):
            for record in rows:
                if place in self.places:
                    yield record
                place += 1


def open_stored(root: str | Path, split: str) -> StoredSamples | None:
    """A split of a stored data set in a folder or at an address; None where the folder holds no such split.

    Raises:
        InputError: the address can't be reached or holds no such split, or a shard is damaged or missing.
    """
    location = Location(root)
    splits = find_splits(location)
    if split not in splits:
        if location.remote:
            there = f"its splits are {', '.join(sorted(splits))}" if splits else f"it holds no {MANIFEST}"
            raise InputError(f"There is no split {split!r} at {root}: {there}.")
        return None
    folder = location / split
    shards = Shards(folder, required_columns(), splits[split])
    if missing := sorted(set(_promised(location, split)) - set(shards.names)):
        raise InputError(f"{folder} lacks {missing[0]}, which {MANIFEST} names; copy or convert the data set again.")
    return StoredSamples(folder, shards=shards)


def split_names(root: str | Path) -> list[str]:
    """The splits of a stored data set in a folder or at an address: train, validation, then the others by name.

    Raises:
        InputError: it holds none, or can't be reached.
    """
    names = find_splits(Location(root))
    if not names:
        raise InputError(f"{root} holds no split with {PATTERN}; write it with: neuraltuning data convert.")
    first = ("train", "validation")
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), name))


def required_columns() -> frozenset[str]:
    """The columns that every shard has."""
    return frozenset(_schema().names) - LATER


def _promised(root: Location, split: str) -> Iterable[str]:
    """The shards that a split has by its manifest, as far as there is one and it tells; at an address it has these."""
    manifest = None if root.remote else read_manifest(root)
    return (manifest.splits[split].shards or ()) if manifest and split in manifest.splits else ()


def _location(folder: Path | Location) -> Location:
    return folder if isinstance(folder, Location) else Location(folder)


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    def structure(**fields: Any) -> Any:
        return pa.struct(list(fields.items()))

    text, texts = pa.string(), pa.list_(pa.string())
    phrase = structure(text=text, kind=text)
    mask = structure(size=pa.list_(pa.int32()), counts=text)
    entry = structure(
        category=text, supercategory=text, mask=mask, box=pa.list_(pa.float64()), phrases=pa.list_(phrase)
    )
    answered = pa.list_(structure(question=text, answer=text, kind=text, objects=pa.list_(pa.int32()), annotated=texts))
    return pa.schema(
        {
            "id": text,
            "image": structure(bytes=pa.binary(), path=text),
            "width": pa.int32(),
            "height": pa.int32(),
            "objects": pa.list_(entry),
            "captions": texts,
            "reasoning": answered,
            "questions": answered,
            "source": text,
            "license": text,
            "ignored": mask,
            "expressions": pa.list_(structure(text=text, objects=pa.list_(pa.int32()))),
        }
    )
