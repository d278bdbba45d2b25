"""Tasks for Label Studio, with masks and tags as pre-annotations, and the labelling configuration that shows them.

    neuraltuning mmud review-export WORK tasks.json

Knows nothing of what comes back (`label_studio_import.py`), but both use the names of this module.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from neuraltuning.data.sample import ObjectAnnotation, Sample
from neuraltuning.errors import InputError
from neuraltuning.files import atomic_path
from neuraltuning.mmud.review.answers import PlacedTag, split_tags
from neuraltuning.mmud.review.brush import encode_brush
from neuraltuning.mmud.review.pictures import css_color, picture_jpeg, shown_mask, shown_size
from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.report.overlay import palette_color

MASKS, TAGS, DECISION, REASON, REWRITTEN = "masks", "tags", "decision", "reason", "rewritten"
"""Names of the configuration's controls."""
LABEL = "OBJ-{}"
"""Label of an object's mask and of its mentions."""
DECISIONS = ("accept", "reject")

_LAST_WORD = re.compile(r"(?s:.*?)(?P<start>\S+)\s*$")
_NOUN_PHRASE = re.compile(
    r"(?s:.*)\b(?P<start>(?:an?|the|this|that|these|those|both|all) (?:[\w'\u2019-]+ ){0,3}[\w'\u2019-]+)$"
)
"""The last article with up to four words behind it."""


def export_tasks(queue: ReviewQueue, path: Path) -> Path:
    """Writes all items of a queue.

    Args:
        queue: what is up for review.
        path: of the tasks' JSON file.

    Returns:
        the path of the configuration, which stands beside it as XML.

    Raises:
        InputError: the name doesn't end in .json, or an item can't be read.
        RunError: a file can't be written.
    """
    if path.suffix != ".json":
        raise InputError(f"{path} must end in .json; its configuration is written beside it with .xml.")
    most = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for place, item in enumerate(queue.items):
            sample = queue.sample(item)
            most = max(most, len(sample.objects))
            file.write(("[\n" if place == 0 else ",\n") + json.dumps(_task(queue, item, sample), ensure_ascii=False))
        file.write("\n]\n")
    with atomic_path(path.with_suffix(".xml")) as temporary:
        temporary.write_text(labelling_configuration(most), encoding="utf-8")
    return path.with_suffix(".xml")


def labelling_configuration(objects: int) -> str:
    """The project's labelling interface, as XML for Label Studio.

    Args:
        objects: the most that an image has.
    """
    view = ElementTree.Element("View", style="display: flex; flex-wrap: wrap; gap: 24px")
    add = ElementTree.SubElement
    # without it Label Studio drops spaces, and counts offsets without them
    add(view, "Style").text = ".htx-text { white-space: pre-wrap; }"
    texts = add(view, "View", style="flex: 1 1 360px")
    add(texts, "Header", value="$question", size="4")
    add(texts, "Header", value="Mark each mention of an object; its tag stands behind the marked words.", size="5")
    _labels(add(texts, "Labels", name=TAGS, toName="answer", choice="multiple"), objects)
    add(texts, "Text", name="answer", value="$answer", granularity="word", saveTextResult="yes")
    add(texts, "Header", value="The objects", size="5")
    add(texts, "Text", name="objects", value="$objects", selectionEnabled="false")
    add(texts, "Header", value="Only if words have to change: the whole answer anew, with its tags.", size="5")
    area = {"toName": "answer", "maxSubmissions": "1"}
    add(texts, "TextArea", {"name": REWRITTEN, "rows": "3", "placeholder": "The cat <OBJ-1> sleeps."} | area)
    choice = {"choice": "single-radio", "required": "true", "showInline": "true"}
    choices = add(texts, "Choices", {"name": DECISION, "toName": "answer"} | choice)
    for decision in DECISIONS:
        add(choices, "Choice", value=decision)
    when = {"visibleWhen": "choice-selected", "whenTagName": DECISION, "whenChoiceValue": "reject"}
    rejected = add(texts, "View", when)
    add(rejected, "TextArea", {"name": REASON, "required": "true", "placeholder": "Why is it rejected?"} | area)
    picture = add(view, "View", style="flex: 1 1 420px")
    add(picture, "Image", name="image", value="$image", zoom="true")
    # the masks' labels are hidden, so that none is drawn: masks are not imported
    _labels(add(add(picture, "View", style="display: none"), "BrushLabels", name=MASKS, toName="image"), objects)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def _labels(parent: ElementTree.Element, objects: int) -> None:
    for index in range(objects):
        color = css_color(palette_color(index))
        ElementTree.SubElement(parent, "Label", value=LABEL.format(index + 1), background=color)


def _task(queue: ReviewQueue, item: str, sample: Sample) -> dict[str, Any]:
    annotation = queue.annotation(item)
    text, tags = split_tags(queue.tagging(item).answer)
    picture = base64.b64encode(picture_jpeg(sample)).decode("ascii")
    described = [f"{number}: {_described(entry)}" for number, entry in enumerate(sample.objects, start=1)]
    data = {
        "item": item,
        "image": f"data:image/jpeg;base64,{picture}",
        "question": annotation.question,
        "answer": text,
        "objects": "\n".join(described),
    }
    regions = [*_mask_regions(sample), *_mention_regions(item, text, tags, sample)]
    return {"data": data, "predictions": [{"model_version": "neuraltuning", "result": regions}]}


def _described(entry: ObjectAnnotation) -> str:
    return "; ".join(dict.fromkeys([entry.category, *(phrase.text for phrase in entry.phrases)]))


def _mask_regions(sample: Sample) -> list[dict[str, Any]]:
    width, height = shown_size(sample)
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    return [
        {
            "id": f"mask-{index + 1}",
            "from_name": MASKS,
            "to_name": "image",
            "type": "brushlabels",
            "readonly": True,
            **size,
            "value": {
                "format": "rle",
                "rle": encode_brush(shown_mask(sample, index)),
                "brushlabels": [LABEL.format(index + 1)],
            },
        }
        for index in range(len(sample.objects))
    ]


def _mention_regions(item: str, text: str, tags: list[PlacedTag], sample: Sample) -> list[dict[str, Any]]:
    """A region for each mention. A tag says only where it ends: it begins with the longest name of its object that ends
    there, or with its article, and never before the mention before it."""
    regions: list[dict[str, Any]] = []
    free = 0
    for end in sorted({tag.at for tag in tags}):
        numbers = [tag.number for tag in tags if tag.at == end]
        start = min(_start(text, free, end, sample, number) for number in numbers)
        if start == end:
            raise InputError(f"{item}: its tag <OBJ-{numbers[0]}> stands behind no word; tag it again.")
        value = {"start": start, "end": end, "text": text[start:end], "labels": [LABEL.format(n) for n in numbers]}
        region = {"id": f"tag-{len(regions) + 1}", "from_name": TAGS, "to_name": "answer", "type": "labels"}
        regions.append({**region, "value": value})
        free = end
    return regions


def _start(text: str, free: int, end: int, sample: Sample, number: int) -> int:
    before = text[free:end].lower()
    starts = [match.start("start") for match in (_LAST_WORD.match(before), _NOUN_PHRASE.match(before)) if match]
    if 1 <= number <= len(sample.objects):
        entry = sample.objects[number - 1]
        for name in [entry.category.lower(), *(phrase.text.lower() for phrase in entry.phrases)]:
            start = len(before) - len(name)
            if name and before.endswith(name) and not before[max(0, start - 1) : start].isalnum():
                starts.append(start)
    return free + min(starts, default=len(before))
