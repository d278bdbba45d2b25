"""Pictures to begin with, and what can be asked about each: Scenes that no training shows, drawn when they are needed.

Knows nothing of pages, and nothing of HTTP.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Literal

from neuraltuning.data.sample import Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.tasks import captioning, referring_segmentation, text_to_image

SPLIT = "test"
PICKED = (1, 23, 7, 2, 10, 13)
"""Scenes of the split, picked for what is in them and not for how a model answers."""

Task = Literal["segment", "reason", "describe", "ask", "draw"]


@dataclass(frozen=True)
class ExampleRequest:
    """A text that can be sent, and the task that it is of."""

    task: Task
    text: str


@dataclass(frozen=True, eq=False)
class Example:
    """A picture and requests about it.

    Attributes:
        title: its objects.
        png: the picture's file.
        requests: at least one for each task.
    """

    title: str
    png: bytes
    requests: tuple[ExampleRequest, ...]


@lru_cache(maxsize=1)
def examples() -> tuple[Example, ...]:
    """All of them; the first call draws them, which takes a fraction of a second."""
    scenes = SceneDataset(SPLIT)
    return tuple(_example(scenes[number]) for number in PICKED)


def _example(sample: Sample) -> Example:
    file = io.BytesIO()
    sample.image.save(file, "PNG")
    title = referring_segmentation.join([annotation.category for annotation in sample.objects])
    return Example(title, file.getvalue(), tuple(_requests(sample)))


def _requests(sample: Sample) -> Iterator[ExampleRequest]:
    phrases = [annotation.phrases[0].text for annotation in sample.objects if annotation.phrases]
    please = referring_segmentation.REQUESTS[0]
    yield ExampleRequest("segment", please.format(phrases[0]))
    yield ExampleRequest("segment", please.format(referring_segmentation.join(phrases[:3])))
    yield from (ExampleRequest("reason", asked.question) for asked in sample.reasoning[:2])
    yield ExampleRequest("describe", captioning.REQUESTS[0])
    for kind in ("count", "color", "where"):
        found = (asked.question for asked in sample.questions if asked.kind == kind and asked.answer != "0")
        yield from (ExampleRequest("ask", question) for question in islice(found, 1))
    yield ExampleRequest("draw", text_to_image.REQUESTS[0].format(sample.captions[0]))
