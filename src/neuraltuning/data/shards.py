"""The Parquet shards of one split, here or at an address: a row is read with its row group, and few groups are kept.

Memory holds two numbers a shard, the footers of the last `OPEN_SHARDS` shards and the last groups up to `GROUP_BYTES`,
however long the split is. Knows nothing of what the columns hold.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, NonNegativeInt, ValidationError

from neuraltuning.data.location import Location
from neuraltuning.errors import InputError

T = TypeVar("T")

PATTERN = "part-*.parquet"
MANIFEST = "dataset.json"
"""In a store's folder: where it comes from, and of each split its shards, counts, digest, and what was left out."""

OPEN_SHARDS = 8
"""Shards whose footers are kept."""
GROUPS = 64
"""Row groups that are kept at most, ..."""
GROUP_BYTES = 128 * 2**20
"""... and their bytes in all; at least one group is kept."""


class SplitManifest(BaseModel):
    """What a manifest says of a split.

    Attributes:
        shards: name -> number of rows; None in those of earlier versions.
        cut_off: sample -> objects whose polygons reached out of its image.
    """

    shards: dict[str, NonNegativeInt] | None = None
    cut_off: dict[str, int] = {}


class Manifest(BaseModel):
    """What `MANIFEST` says that reading needs."""

    splits: dict[str, SplitManifest]


def read_manifest(root: Location) -> Manifest | None:
    """The manifest of a store; None where there is none.

    Raises:
        InputError: the address can't be reached, or the manifest is damaged.
    """
    data = (root / MANIFEST).read()
    if data is None:
        return None
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole of it"
        raise InputError(
            f"{root / MANIFEST}, {place}: {first['msg'].lower()}; get or convert the data set again."
        ) from error
    for name in (*manifest.splits, *(shard for split in manifest.splits.values() for shard in split.shards or ())):
        if not name or name.startswith(".") or set(name) & set("/\\?#"):
            raise InputError(f"{root / MANIFEST} names {name!r}, which is no file of the data set's folder.")
    return manifest


def find_splits(root: Location) -> dict[str, dict[str, int] | None]:
    """Split -> its shards with their numbers of rows, or None where these have to be looked at.

    In a folder the shards are looked for. An address needn't be listable, so that its manifest counts where there is
    one.

    Raises:
        InputError: the address can't be reached, or its manifest is damaged.
    """
    manifest = read_manifest(root) if root.remote else None
    if manifest is None:
        return {name.split("/")[0]: None for name in root.glob(f"*/{PATTERN}")}
    return {name: split.shards for name, split in manifest.splits.items()}


class Shards:
    """The rows of a split, counted over all of its shards.

    Attributes:
        folder: with the shards.
        names: of the shards.
        starts: (shards + 1,) int64, the place of each shard's first row, and their number in all.
    """

    def __init__(self, folder: Location, required: Collection[str], counts: Mapping[str, int] | None = None) -> None:
        """Opens a split.

        Args:
            folder: with the shards.
            required: columns that each shard must have.
            counts: shard -> its number of rows, where a manifest tells; else the shards are listed and opened.

        Raises:
            InputError: there is no shard, one is damaged, or the address can't be reached.
        """
        self.folder, self._required = folder, required
        self.names = folder.glob(PATTERN) if counts is None else list(counts)
        if not self.names:
            raise InputError(f"{folder} holds no {PATTERN}; write it with: neuraltuning data convert.")
        self._counts = None if counts is None else list(counts.values())
        self._forget()
        rows = self._counts or [self._footer(number).starts[-1] for number in range(len(self.names))]
        self.starts: NDArray[np.int64] = np.cumsum([0, *rows], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_files", "_tables")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def path(self, place: int) -> Location:
        """The shard that holds a row."""
        return self.folder / self.names[self._shard(place)]

    def row(self, place: int) -> dict[str, Any]:
        """A row as plain values.

        Raises:
            InputError: its shard is damaged.
            RunError: its address can't be reached any more.
        """
        shard = self._shard(place)
        footer = self._footer(shard)
        within = place - int(self.starts[shard])
        group = int(np.searchsorted(footer.starts, within, side="right")) - 1
        table = self._tables.get((shard, group), lambda: self._read(shard, group))
        return dict(table.slice(within - int(footer.starts[group]), 1).to_pylist()[0])

    def groups(self, shard: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row groups of a shard: (groups + 1,) the first row of each and the end, and (groups,) their bytes.

        Raises:
            InputError: the shard is damaged.
        """
        footer = self._footer(shard)
        return footer.starts, footer.sizes

    def batches(self, columns: Callable[[str], bool] | None = None, rows: int = 1024) -> Iterator[list[dict[str, Any]]]:
        """All rows in order, a few at a time, with the leaf columns whose path is admitted.

        Raises:
            InputError: a shard is damaged.
        """
        for number in range(len(self.names)):
            file = self._footer(number).file
            paths = [file.schema.column(place).path for place in range(len(file.schema))]
            wanted = [path for path in paths if columns is None or columns(path)]
            batches = file.iter_batches(batch_size=rows, columns=wanted, use_threads=False)
            while (batch := self._checked(number, lambda: next(batches, None))) is not None:  # noqa: B023
                yield batch.to_pylist()

    def _shard(self, place: int) -> int:
        return int(np.searchsorted(self.starts, place, side="right")) - 1

    def _read(self, shard: int, group: int) -> Any:
        # without threads, which a process that was forked may have lost
        return self._checked(shard, lambda: self._footer(shard).file.read_row_group(group, use_threads=False))

    def _footer(self, number: int) -> _Footer:
        if self._process != os.getpid():
            self._forget()  # connections and threads stay behind in the process that was forked
        return self._files.get(number, lambda: self._open(number))

    def _open(self, number: int) -> _Footer:
        import pyarrow.parquet

        path = self.folder / self.names[number]
        file = self._checked(number, lambda: pyarrow.parquet.ParquetFile(path.open(), pre_buffer=path.remote))
        if missing := sorted(set(self._required) - set(file.schema_arrow.names)):
            raise InputError(f"{path} has no column {missing[0]!r}; write it with: neuraltuning data convert.")
        if self._counts is not None and file.metadata.num_rows != self._counts[number]:
            raise InputError(
                f"{path} holds {file.metadata.num_rows} samples, but {MANIFEST} beside it says "
                f"{self._counts[number]}; upload the data set again."
            )
        groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
        starts = np.cumsum([0, *(group.num_rows for group in groups)], dtype=np.int64)
        return _Footer(file, starts, np.array([group.total_byte_size for group in groups], dtype=np.int64))

    def _checked(self, shard: int, read: Callable[[], Any]) -> Any:
        import pyarrow

        try:
            return read()
        except (OSError, pyarrow.ArrowException) as error:
            path = self.folder / self.names[shard]
            said = " ".join(str(error).split())
            raise InputError(f"{path} is no complete Parquet file ({said}); convert the data set again.") from error

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: _Recent[_Footer] = _Recent(OPEN_SHARDS)
        self._tables: _Recent[Any] = _Recent(GROUPS, lambda table: int(table.nbytes), GROUP_BYTES)


@dataclass(frozen=True)
class _Footer:
    file: Any
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


class _Recent(Generic[T]):
    """The values that were used last: at most so many, of so much weight in all, but at least one."""

    def __init__(self, most: int, weigh: Callable[[T], int] = lambda value: 0, most_weight: int = 0) -> None:
        self.most, self.weigh, self.most_weight = most, weigh, most_weight
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._weight = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made where it isn't there."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        self._weight += self.weigh(value)
        while len(self._values) > 1 and (len(self._values) > self.most or self._weight > self.most_weight):
            self._weight -= self.weigh(self._values.popitem(last=False)[1])
        return value
