"""gRefCOCO (Liu et al. 2023, GRES): sentences that mean one object, several, or none of the image.

A folder holds `grefs(unc).json`, or the same as a pickle, and COCO's `instances.json`. A ref's `ann_id` is the list of
what its sentences mean, [-1] where that is nothing.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from neuraltuning.data.sample import Expression, ObjectAnnotation, Phrase, Sample
from neuraltuning.data.sources.base import BadRecord, Entry, Split, parse, read_json, read_picture
from neuraltuning.data.sources.instances import Instances, read_instances
from neuraltuning.data.sources.refer import LICENSE, SPLITS, Sentence
from neuraltuning.data.unpickle import load_plain_pickle
from neuraltuning.errors import InputError

NOTHING = -1
"""The annotation that stands where a sentence means nothing."""
DIVISION = ("train", "val", "testA", "testB")
"""The splits of the division "unc"."""


class Ref(BaseModel):
    ref_id: int
    ann_id: list[int] | int
    image_id: int
    split: str
    sentences: list[Sentence]

    @property
    def meant(self) -> list[int]:
        """The annotations that it means, each once."""
        given = self.ann_id if isinstance(self.ann_id, list) else [self.ann_id]
        return [] if given == [NOTHING] else list(dict.fromkeys(given))


def read_grefcoco(folder: Path, images: Path) -> dict[str, Split]:
    """The splits of gRefCOCO that the file has; its makers held testA and testB back at first.

    Args:
        folder: with `grefs(unc).json` or `grefs(unc).p`, and `instances.json`.
        images: with the pictures of COCO's train2014.

    Raises:
        InputError: a file is missing or damaged, or the two don't belong together.
    """
    pickled, path = folder / "grefs(unc).p", folder / "grefs(unc).json"
    if not path.is_file() and pickled.is_file():
        path = pickled
    refs = parse(Ref, load_plain_pickle(path) if path is pickled else read_json(path), path, "ref")
    instances = read_instances(folder / "instances.json")
    by_split: dict[str, dict[int, list[Ref]]] = defaultdict(lambda: defaultdict(list))
    for ref in refs:
        for number in ref.meant:
            annotation = instances.annotations.get(number)
            if annotation is None or annotation.image_id != ref.image_id:
                raise InputError(
                    f"{path} and {instances.path} don't belong together: ref {ref.ref_id} is about annotation {number} "
                    f"of image {ref.image_id}, which the second doesn't have."
                )
            instances.category(annotation)
        if ref.image_id not in instances.images:
            raise InputError(
                f"{path} and {instances.path} don't belong together: ref {ref.ref_id} is about image {ref.image_id}, "
                "which the second doesn't have."
            )
        if ref.split not in DIVISION:
            raise InputError(
                f"{path}, ref {ref.ref_id}: gRefCOCO has no split {ref.split!r} ({', '.join(DIVISION)}); get its own "
                "file."
            )
        by_split[SPLITS.get(ref.split, ref.split)][ref.image_id].append(ref)
    splits = {}
    for split, groups in sorted(by_split.items()):
        entries = [
            Entry(f"image {number}", partial(_read, split, number, group, instances, images))
            for number, group in sorted(groups.items())
        ]
        members = [ref for group in groups.values() for ref in group]
        counts = {"images": len(entries), "refs": len(members), "sentences": _sentences(members)}
        counts["sentences of several objects"] = _sentences([ref for ref in members if len(ref.meant) > 1])
        counts["of none"] = _sentences([ref for ref in members if not ref.meant])
        splits[split] = Split(entries, counts, file=path.name)
    return splits


def _sentences(refs: list[Ref]) -> int:
    return sum(len(ref.sentences) for ref in refs)


def _read(split: str, number: int, refs: list[Ref], instances: Instances, images: Path) -> tuple[Sample, bytes]:
    image = instances.images[number]
    picture, data = read_picture(images, image.file_name, (image.height, image.width))
    meant = {ref.ref_id: _without_crowds(ref, instances) for ref in refs}
    phrases: dict[int, list[Phrase]] = {annotation: [] for numbers in meant.values() for annotation in numbers}
    for ref in refs:
        if len(meant[ref.ref_id]) == 1:
            phrases[meant[ref.ref_id][0]] += [Phrase(sentence.sent, "") for sentence in ref.sentences]
    objects = {n: instances.object(instances.annotations[n], tuple(own)) for n, own in phrases.items()}
    places = {n: place for place, n in enumerate(sorted(objects, key=lambda n: _left_to_right(objects[n])))}
    expressions = [
        Expression(sentence.sent, tuple(sorted(places[n] for n in meant[ref.ref_id])))
        for ref in refs
        if len(meant[ref.ref_id]) != 1
        for sentence in ref.sentences
    ]
    sample = Sample(
        id=f"grefcoco-{split}-{number}",
        image=picture,
        objects=tuple(objects[n] for n in places),
        source="grefcoco",
        license=LICENSE,
        expressions=tuple(expressions),
    )
    return sample, data


def _without_crowds(ref: Ref, instances: Instances) -> list[int]:
    """What a ref means, without COCO's crowds, which are several objects in one; its makers' code leaves them out."""
    kept = [number for number in ref.meant if not instances.annotations[number].iscrowd]
    if ref.meant and not kept:
        raise BadRecord(f"ref {ref.ref_id} means crowds alone")
    return kept


def _left_to_right(annotation: ObjectAnnotation) -> tuple[float, float]:
    """The middle of an object's box; the order in which a reply names several."""
    x, y, width, height = annotation.box
    return x + width / 2, y + height / 2
