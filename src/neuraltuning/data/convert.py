"""Published files -> the project's own store (`neuraltuning.data.store`), with counts and a digest to check them by.

    neuraltuning data convert refcoco/ --from refcoco --images train2014/ --to data/refcoco

The store appears only when it is complete. Records that can't become samples are left out by name and reason, up to a
share.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from neuraltuning.data.archives import Archives
from neuraltuning.data.masks import noting_cut_off
from neuraltuning.data.sample import Sample
from neuraltuning.data.shards import MANIFEST
from neuraltuning.data.sources.base import BadRecord, Entry, Split
from neuraltuning.data.sources.coco import read_coco
from neuraltuning.data.sources.food101 import read_food101
from neuraltuning.data.sources.grefcoco import read_grefcoco
from neuraltuning.data.sources.karpathy import read_karpathy
from neuraltuning.data.sources.lines import read_lines
from neuraltuning.data.sources.llava import read_llava
from neuraltuning.data.sources.mmud import read_mmud
from neuraltuning.data.sources.reasonseg import read_reasonseg
from neuraltuning.data.sources.refer import SPLIT_BY, read_refer
from neuraltuning.data.sources.salient import FOLDERS, read_salient
from neuraltuning.data.sources.snli_ve import read_snli_ve
from neuraltuning.data.sources.textvqa import read_textvqa
from neuraltuning.data.sources.vqav2 import read_vqav2
from neuraltuning.data.store import SplitWriter
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path

FORMATS: dict[str, Callable[..., dict[str, Split]]] = {
    **{name: partial(read_refer, name) for name in SPLIT_BY},
    "grefcoco": read_grefcoco,
    "mmud": read_mmud,
    "reasonseg": read_reasonseg,
    **{name: partial(read_salient, name) for name in FOLDERS},
    "coco-captions": read_karpathy,
    "vqav2": read_vqav2,
    "textvqa": read_textvqa,
    "snli-ve": read_snli_ve,
    "food-101": read_food101,
    "coco": read_coco,
    "llava": read_llava,
    "jsonl": read_lines,
}
"""Name of a format -> its reader, which takes the folder of its files and the folder of its pictures."""

_SPLIT_NAME = re.compile(r"\w[\w.+-]*")
"""Of files from outside; a path would leave the store."""


def convert(
    kind: str,
    folder: Path,
    images: Path,
    target: Path,
    *,
    split_by: str | None = None,
    max_left_out: float = 0.01,
    beside: bool = False,
) -> dict[str, Any]:
    """Writes a published data set as a store.

    Args:
        kind: one of `FORMATS`.
        folder: with the published files; it may be a ZIP, or a folder in one (`Archives.folder`).
        images: with the pictures; likewise.
        target: the store's folder; an earlier store in it is replaced when the new one is complete.
        split_by: for REFER's data sets, the division into splits.
        max_left_out: share of a split's records that may be left out.
        beside: keep pictures as files beside the shards, not inside.

    Returns:
        What is written to `MANIFEST`.

    Raises:
        InputError: the files aren't what they should be, too many records are bad, or `target` holds other things.
        RunError: the disk is full.
    """
    if kind not in FORMATS:
        raise InputError(f"There is no format {kind!r}; choose one of {', '.join(FORMATS)}.")
    if split_by is not None and kind not in SPLIT_BY:
        raise InputError(f"--split-by is for {', '.join(SPLIT_BY)}; {kind} has one division alone.")
    check_target(target)
    source = {"format": kind, "split_by": split_by or SPLIT_BY.get(kind)}
    options = {} if split_by is None else {"split_by": split_by}
    with Archives(target.parent) as archives:
        try:
            splits = FORMATS[kind](archives.folder(folder), archives.folder(images), **options)
            splits = {name: replace(split, entries=_named(split.entries, archives)) for name, split in splits.items()}
            return write_store(target, splits, source, max_left_out=max_left_out, beside=beside)
        except InputError as error:
            raise InputError(archives.named(str(error)) + archives.hint()) from error


def _named(entries: list[Entry], archives: Archives) -> list[Entry]:
    """The same entries, whose errors name ZIPs in the place of temporary folders."""

    def read(entry: Entry) -> tuple[Sample, bytes]:
        try:
            return entry.read()
        except (BadRecord, InputError) as error:
            raise type(error)(archives.named(str(error))) from error

    return [replace(entry, read=partial(read, entry)) for entry in entries]


def check_target(target: Path) -> None:
    """Refuses a folder that holds something else than a store.

    Raises:
        InputError: it does.
    """
    if target.exists() and not (target / MANIFEST).is_file() and (target.is_file() or any(target.iterdir())):
        raise InputError(f"{target} holds other things, which would be lost; name an empty or a new folder.")


def write_store(
    target: Path, splits: Mapping[str, Split], source: Mapping[str, Any], *, max_left_out: float, beside: bool = False
) -> dict[str, Any]:
    """Writes splits as a store, which appears when it is complete.

    Args:
        target: the store's folder, see `check_target`.
        splits: its splits.
        source: what the manifest says of where it comes from.
        max_left_out: share of a split's records that may be left out.
        beside: keep pictures as files beside the shards, not inside.

    Returns:
        What is written to `MANIFEST`.

    Raises:
        InputError: too many records are bad, or a split's name can be no folder's.
        RunError: the disk is full.
    """
    for name, split in splits.items():
        if not _SPLIT_NAME.fullmatch(name) or name == MANIFEST:
            raise InputError(f"{split.file} names a split {name!r}, which can be no folder's name; rename it.")
    manifest: dict[str, Any] = {**source, "splits": {}}
    with atomic_path(target, directory=True) as temporary:
        for name, split in splits.items():
            (temporary / name).mkdir()
            manifest["splits"][name] = _write(name, split, temporary / name, max_left_out, beside)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _write(name: str, split: Split, folder: Path, max_left_out: float, beside: bool) -> dict[str, Any]:
    digest = hashlib.sha256()
    left_out: list[dict[str, str]] = []
    cut_off: dict[str, int] = {}
    seen: set[str] = set()
    with SplitWriter(folder, beside=beside) as writer:
        for entry in track(split.entries, description=f"Writing {name}", console=Console(stderr=True)):
            try:
                with noting_cut_off() as beyond:
                    sample, image = entry.read()
                if sample.id in seen:
                    raise BadRecord(f"its id {sample.id!r} stands twice")
                record = _add(writer, sample, image)
            except (BadRecord, InputError) as error:
                left_out.append({"record": entry.name, "reason": str(error)})
                if len(left_out) > max_left_out * len(split.entries):
                    where = f" of {split.file}" if split.file else ""
                    raise InputError(
                        f"More than {max_left_out:.1%} of the split {name} can't be used ({len(left_out)} of "
                        f"{len(split.entries)} so far). The first is {left_out[0]['record']}{where}: "
                        f"{left_out[0]['reason'].removesuffix('.')}. Mend them, or allow more with --max-left-out."
                    ) from error
                continue
            seen.add(sample.id)
            if beyond:
                cut_off[sample.id] = len(beyond)
            digest.update(json.dumps(record, sort_keys=True).encode())
            digest.update(hashlib.sha256(image).digest())
    return {
        "counts": split.counts,
        "published": dict(split.published),
        "written": len(split.entries) - len(left_out),
        "left_out": left_out,
        "sha256": digest.hexdigest(),
        "cut_off": cut_off,
        "shards": writer.shards,
    }


def _add(writer: SplitWriter, sample: Sample, image: bytes) -> dict[str, Any]:
    try:
        return writer.add(sample, image)
    except UnicodeEncodeError as error:
        raise BadRecord(f"a text of it holds {error.object[error.start]!r}, half a character") from error


def summary(manifest: dict[str, Any]) -> list[str]:
    """One line a split: what was counted, and how that compares with what is published."""
    lines = []
    for name, split in manifest["splits"].items():
        parts = []
        for what, count in split["counts"].items():
            known = split["published"].get(what)
            note = "" if known is None else " (as published)" if known == count else f" (published: {known:,})"
            parts.append(f"{count:,} {what}{note}")
        parts.append(f"{len(split['left_out'])} left out")
        if split["cut_off"]:
            parts.append(f"polygons of {sum(split['cut_off'].values())} objects cut off at the image's edge")
        lines.append(f"{name}: {', '.join(parts)}, sha256 {split['sha256'][:16]}")
    return lines
