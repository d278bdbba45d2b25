"""Samples on disk as Parquet shards with their images inside: `DIR/<split>/part-00000.parquet`, ...

Written in one pass, read by place without loading the rest. The columns are plain lists and structures, so other
programs read them too (`datasets.load_dataset("parquet", data_files="DIR/train/*.parquet")`). Knows nothing of where
samples come from.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from neuraltuning.data.images import decode_image
from neuraltuning.data.records import from_record, to_record
from neuraltuning.data.sample import Sample
from neuraltuning.errors import InputError

if TYPE_CHECKING:
    import pyarrow

SHARD_BYTES = 256 * 2**20
"""Encoded images of a shard, about."""
ROW_GROUP = 16
"""Samples that are read at once."""
PATTERN = "part-*.parquet"


class SplitWriter:
    """Writes the shards of one split into an existing empty folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._schema = _schema()
        self._writer: Any = None
        self._shards = self._bytes = 0
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, sample: Sample, image: bytes) -> dict[str, Any]:
        """Appends a sample; `image` is its picture's file, kept as it is. Returns its record (`to_record`)."""
        record = to_record(sample)
        size = {"width": sample.image.width, "height": sample.image.height}
        self._rows.append({"image": {"bytes": image, "path": None}, **size, **record})
        self._bytes += len(image)
        if len(self._rows) == ROW_GROUP:
            self._flush()
        if self._bytes > SHARD_BYTES and self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer, self._bytes = None, 0
        return record

    def _flush(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if not self._rows and (self._writer is not None or self._shards):
            return
        if self._writer is None:
            name = f"part-{self._shards:05d}.parquet"
            self._writer = pyarrow.parquet.ParquetWriter(self.folder / name, self._schema, compression="zstd")
            self._shards += 1
        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


class StoredSamples(Sequence[Sample]):
    """The samples of one split, each read when it is asked for."""

    def __init__(self, folder: Path, places: range | None = None) -> None:
        """Opens a split.

        Args:
            folder: with the shards.
            places: of the samples that this sequence holds, counted over all shards; all of them by default.

        Raises:
            InputError: there is no shard, or one is damaged.
        """
        self.folder = folder
        self.paths = sorted(folder.glob(PATTERN))
        if not self.paths:
            raise InputError(f"{folder} holds no {PATTERN}; write it with: neuraltuning data convert.")
        self.starts = [0]
        self.groups: list[tuple[int, int]] = []
        for number, path in enumerate(self.paths):
            metadata = _open(path).metadata
            for group in range(metadata.num_row_groups):
                self.groups.append((number, group))
                self.starts.append(self.starts[-1] + metadata.row_group(group).num_rows)
        self.places = range(self.starts[-1]) if places is None else places
        self._kept: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __len__(self) -> int:
        return len(self.places)

    def ids(self) -> list[str]:
        """The samples' ids, without reading the rest."""
        names = [str(name) for path in self.paths for name in _open(path).read(columns=["id"])["id"].to_pylist()]
        return [names[place] for place in self.places]

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> StoredSamples: ...
    def __getitem__(self, index: int | slice) -> Sample | StoredSamples:
        if isinstance(index, slice):
            return StoredSamples(self.folder, self.places[index])
        place = self.places[index]
        group = bisect.bisect_right(self.starts, place) - 1
        if self._kept[0] != group:
            shard, number = self.groups[group]
            try:
                self._kept = (group, _open(self.paths[shard]).read_row_group(number).to_pylist())
            except OSError as error:
                raise _damaged(self.paths[shard], error) from error
        record = self._kept[1][place - self.starts[group]]
        where = f"{self.paths[self.groups[group][0]]}, sample {record.get('id')}"
        image = decode_image(record["image"]["bytes"], f"{where}: its image")
        try:
            return from_record(record, image)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{where}: {error}; convert the data set again.") from error


def _open(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from error
    if missing := sorted({field.name for field in _schema()} - set(file.schema_arrow.names)):
        raise InputError(f"{path} has no column {missing[0]!r}; write it with: neuraltuning data convert.")
    return file


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no complete Parquet file ({error}); convert the data set again.")


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
        }
    )
