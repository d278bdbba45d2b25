"""RefCOCO, RefCOCO+, RefCOCOg and RefCLEF as REFER's files have them (Yu et al. 2016; Mao et al. 2016).

A folder holds `refs(<split_by>).p`, a pickle of Python 2, and `instances.json` in COCO's format. A ref is an object
with the sentences that refer to it; its own `file_name` names an annotated crop and is not used.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from pydantic import BaseModel

from neuraltuning.data.sample import Phrase, Sample
from neuraltuning.data.sources.base import Entry, Split, parse, read_picture
from neuraltuning.data.sources.instances import Image, read_instances
from neuraltuning.data.unpickle import load_plain_pickle
from neuraltuning.errors import InputError

SPLIT_BY = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "refclef": "unc"}
"""Data set -> the division into splits that is used where none is named."""

SPLITS = {"val": "validation", "testA": "test_a", "testB": "test_b", "testC": "test_c"}
"""REFER's name of a split -> ours, where they differ."""

PUBLISHED: dict[tuple[str, str], dict[str, tuple[int, int]]] = {
    ("refcoco", "unc"): {
        "train": (42_404, 120_624),
        "validation": (3_811, 10_834),
        "test_a": (1_975, 5_657),
        "test_b": (1_810, 5_095),
    },
    ("refcoco+", "unc"): {
        "train": (42_278, 120_191),
        "validation": (3_805, 10_758),
        "test_a": (1_975, 5_726),
        "test_b": (1_798, 4_889),
    },
    ("refcocog", "umd"): {"train": (42_226, 80_512), "validation": (2_573, 4_896), "test": (5_023, 9_602)},
    ("refclef", "unc"): {"validation": (9_970, 12_029)},
}
"""(Data set, split_by) -> split -> refs and sentences, as far as the literature counts them: of all splits
where it counts "train"."""

LICENSE = "LicenseRef-Flickr"
"""The images are their photographers', under the licences of COCO's or ImageCLEF's lists."""


class Sentence(BaseModel):
    sent: str


class Ref(BaseModel):
    ref_id: int
    ann_id: int
    image_id: int
    split: str
    sentences: list[Sentence]


def read_refer(name: str, folder: Path, images: Path, split_by: str | None = None) -> dict[str, Split]:
    """The splits of a data set of REFER's.

    Args:
        name: "refcoco", "refcoco+", "refcocog" or "refclef".
        folder: with its two files.
        images: with the pictures, as instances.json names them.
        split_by: which division into splits ("unc", "umd", "google", "berkeley"); the usual one by default.

    Raises:
        InputError: a file is missing or damaged, or the two don't belong together.
    """
    split_by = split_by or SPLIT_BY[name]
    path = folder / f"refs({split_by}).p"
    if not path.is_file():
        there = sorted(p.name for p in folder.glob("refs(*).p"))
        hint = f"there are {', '.join(there)}: choose by --split-by" if there else "unpack REFER's archive there"
        raise InputError(f"There is no {path}; {hint}.")
    refs = parse(Ref, load_plain_pickle(path), path, "ref")
    instances = read_instances(folder / "instances.json")
    published = PUBLISHED.get((name, split_by), {})
    by_split: dict[str, dict[int, list[Ref]]] = defaultdict(lambda: defaultdict(list))
    for ref in refs:
        annotation = instances.annotations.get(ref.ann_id)
        if annotation is None or annotation.image_id != ref.image_id or ref.image_id not in instances.images:
            raise InputError(
                f"{path} and {instances.path} don't belong together: ref {ref.ref_id} is about annotation {ref.ann_id} "
                f"of image {ref.image_id}, which the second doesn't have."
            )
        instances.category(annotation)
        split = SPLITS.get(ref.split, ref.split)
        if "train" in published and split not in published:
            raise InputError(
                f"{path} is of another division: ref {ref.ref_id} is of the split {ref.split!r}, which {name} by "
                f"{split_by} doesn't have; get its own file."
            )
        by_split[split][ref.image_id].append(ref)

    def read(split: str, image: Image, its_refs: list[Ref]) -> tuple[Sample, bytes]:
        picture, data = read_picture(images, image.file_name, (image.height, image.width))
        objects = tuple(
            instances.object(instances.annotations[ref.ann_id], tuple(Phrase(s.sent, "") for s in ref.sentences))
            for ref in its_refs
        )
        identity = f"{name}-{split_by}-{split}-{image.id}"
        return Sample(identity, picture, objects, source=name, license=LICENSE), data

    splits = {}
    for split, groups in sorted(by_split.items()):
        entries = [
            Entry(f"image {number}", lambda s=split, n=number, g=group: read(s, instances.images[n], g))  # type: ignore[misc]
            for number, group in sorted(groups.items())
        ]
        members = [ref for group in groups.values() for ref in group]
        counts = {"images": len(entries), "refs": len(members), "sentences": sum(len(r.sentences) for r in members)}
        known = dict(zip(("refs", "sentences"), published.get(split, ()), strict=False))
        if known and counts["refs"] > known["refs"]:
            raise InputError(
                f"{path} is of another division: its split {split} has {counts['refs']:,} refs, where {name} by "
                f"{split_by} has {known['refs']:,}; get its own file."
            )
        splits[split] = Split(entries, counts, known, path.name)
    return splits
