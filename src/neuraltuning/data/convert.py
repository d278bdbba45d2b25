"""Published files -> the project's own store (`neuraltuning.data.store`), with counts and a digest to check them by.

    neuraltuning data convert refcoco/ --from refcoco --images train2014/ --to data/refcoco

The store appears only when it is complete. Records that can't become samples are left out by name and reason, up to a
share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from neuraltuning.data.sources.base import BadRecord, Split
from neuraltuning.data.sources.karpathy import read_karpathy
from neuraltuning.data.sources.lines import read_lines
from neuraltuning.data.sources.mmud import read_mmud
from neuraltuning.data.sources.reasonseg import read_reasonseg
from neuraltuning.data.sources.refer import SPLIT_BY, read_refer
from neuraltuning.data.sources.vqav2 import read_vqav2
from neuraltuning.data.store import SplitWriter
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path

MANIFEST = "dataset.json"
"""In a store's folder: where it comes from, and of each split counts, digest, and what was left out."""

FORMATS: dict[str, Callable[..., dict[str, Split]]] = {
    **{name: partial(read_refer, name) for name in SPLIT_BY},
    "mmud": read_mmud,
    "reasonseg": read_reasonseg,
    "coco-captions": read_karpathy,
    "vqav2": read_vqav2,
    "jsonl": read_lines,
}
"""Name of a format -> its reader, which takes the folder of its files and the folder of its pictures."""


def convert(
    kind: str, folder: Path, images: Path, target: Path, *, split_by: str | None = None, max_left_out: float = 0.01
) -> dict[str, Any]:
    """Writes a published data set as a store.

    Args:
        kind: one of `FORMATS`.
        folder: with the published files.
        images: with the pictures.
        target: the store's folder; an earlier store in it is replaced when the new one is complete.
        split_by: for REFER's data sets, the division into splits.
        max_left_out: share of a split's records that may be left out.

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
    for place in (folder, images):
        if not place.is_dir():
            raise InputError(f"There is no folder {place}.")
    if target.exists() and not (target / MANIFEST).is_file() and (target.is_file() or any(target.iterdir())):
        raise InputError(f"{target} holds other things, which would be lost; name an empty or a new folder.")
    splits = FORMATS[kind](folder, images, **({} if split_by is None else {"split_by": split_by}))
    manifest: dict[str, Any] = {"format": kind, "split_by": split_by or SPLIT_BY.get(kind), "splits": {}}
    with atomic_path(target, directory=True) as temporary:
        for name, split in splits.items():
            (temporary / name).mkdir()
            manifest["splits"][name] = _write(name, split, temporary / name, max_left_out)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _write(name: str, split: Split, folder: Path, max_left_out: float) -> dict[str, Any]:
    digest = hashlib.sha256()
    left_out: list[dict[str, str]] = []
    seen: set[str] = set()
    with SplitWriter(folder) as writer:
        for entry in track(split.entries, description=f"Converting {name}", console=Console(stderr=True)):
            try:
                sample, image = entry.read()
                if sample.id in seen:
                    raise BadRecord(f"its id {sample.id!r} stands twice")
            except (BadRecord, InputError) as error:
                left_out.append({"record": entry.name, "reason": str(error)})
                if len(left_out) > max_left_out * len(split.entries):
                    raise InputError(
                        f"More than {max_left_out:.1%} of the split {name} can't be used ({len(left_out)} of "
                        f"{len(split.entries)} so far). The first is {left_out[0]['record']}: "
                        f"{left_out[0]['reason'].removesuffix('.')}. Mend them, or allow more with --max-left-out."
                    ) from error
                continue
            seen.add(sample.id)
            record = writer.add(sample, image)
            digest.update(json.dumps(record, sort_keys=True).encode())
            digest.update(hashlib.sha256(image).digest())
    return {
        "counts": split.counts,
        "published": dict(split.published),
        "written": len(split.entries) - len(left_out),
        "left_out": left_out,
        "sha256": digest.hexdigest(),
    }


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
        lines.append(f"{name}: {', '.join(parts)}, sha256 {split['sha256'][:16]}")
    return lines
