"""What earlier turns of a conversation do to the answer to the last one, on Scenes' validation split.

    python benchmarks/turns.py runs/benchmark --images 250

Each image is asked one question and to segment one object by itself, and then the same behind one earlier turn, the
model's own reply in it: a question, a request for another object, or one for a caption. Then it is asked to "segment
it", which only the earlier turn explains. Printed are the shares of right answers and of masks with an IoU above 0.5.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from neuraltuning.data.scenes import SceneDataset
from neuraltuning.files import write_json
from neuraltuning.serving.engine import Engine
from neuraltuning.serving.engine_types import ChatQuery, Event, Finished
from neuraltuning.serving.models import load_models
from neuraltuning.tasks.base import Example
from neuraltuning.tasks.captioning import Captioning
from neuraltuning.tasks.referring_segmentation import ReferringSegmentation
from neuraltuning.tasks.visual_question_answering import VisualQuestionAnswering

MODEL = "asked"
FOLLOW_UP = "Please segment it."
ENOUGH = 0.5
"""IoU above which a mask counts as right."""


def chosen(images: int) -> list[dict[str, list[Example]]]:
    """Of each image that has them two questions, two requests for one object, and one for a caption."""
    found = []
    for number, sample in enumerate(SceneDataset("validation", images)):
        rng = np.random.default_rng(number)
        questions = VisualQuestionAnswering().examples(sample, rng)
        objects = [e for e in ReferringSegmentation().examples(sample, rng) if len(e.targets["<OBJ>"]) == 1]
        captions = Captioning().examples(sample, rng)
        if len(questions) > 1 and len(objects) > 1:
            found.append({"question": questions, "object": objects, "caption": captions})
    return found


def ask(engine: Engine, queries: list[ChatQuery]) -> list[Finished]:
    """The ends of all replies, in order."""
    events: SimpleQueue[tuple[int, Event]] = SimpleQueue()
    for number, query in enumerate(queries):
        engine.submit(query, lambda event, number=number: events.put((number, event)))
    ends: dict[int, Finished] = {}
    while len(ends) < len(queries):
        number, event = events.get()
        if isinstance(event, Finished):
            ends[number] = event
    return [ends[number] for number in range(len(queries))]


def right(end: Finished, example: Example) -> bool:
    """Whether a reply answers an example."""
    if "<OBJ>" not in example.targets:
        return end.reply.text.strip(" .").lower() in [
            text.strip(" .").lower() for text in example.references or (example.reply,)
        ]
    target = example.targets["<OBJ>"][0]
    mask = end.reply.masks[0] if len(end.reply.masks) else np.zeros_like(target)
    return bool((mask & target).sum() > ENOUGH * (mask | target).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder that `neuraltuning tune` wrote")
    parser.add_argument("--images", type=int, default=250, help="images of the split to choose from")
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    items = chosen(arguments.images)
    engine = Engine(load_models({MODEL: arguments.model}), max_waiting=len(items), earlier="always")

    def query(example: Example, text: str, *earlier: tuple[str, str]) -> ChatQuery:
        return ChatQuery(MODEL, text, example.image, earlier=earlier, max_new_tokens=64)

    first = {
        kind: [
            (item[kind][0].prompt, end.reply.text)
            for item, end in zip(items, ask(engine, [query(i[kind][0], i[kind][0].prompt) for i in items]), strict=True)
        ]
        for kind in ("question", "object", "caption")
    }
    found: dict[str, Any] = {"images": len(items)}
    for kind in ("question", "object"):
        examples = [item[kind][1] for item in items]
        turns: dict[str, list[tuple[tuple[str, str], ...]]] = {"alone": [() for _ in items]}
        turns |= {f"after_{other}": [(turn,) for turn in first[other]] for other in first}
        found[kind] = {
            name: share(ask(engine, [query(e, e.prompt, *t) for e, t in zip(examples, earlier, strict=True)]), examples)
            for name, earlier in turns.items()
        }
    examples = [item["object"][0] for item in items]
    found["follow_up"] = {
        "alone": share(ask(engine, [query(e, FOLLOW_UP) for e in examples]), examples),
        "after_object": share(
            ask(engine, [query(e, FOLLOW_UP, turn) for e, turn in zip(examples, first["object"], strict=True)]),
            examples,
        ),
    }
    engine.close(0.0)
    if arguments.output is not None:
        write_json(arguments.output, found)
    print(json.dumps(found, indent=2))


def share(ends: list[Finished], examples: list[Example]) -> float:
    """The share of right replies."""
    return round(float(np.mean([right(end, example) for end, example in zip(ends, examples, strict=True)])), 3)


if __name__ == "__main__":
    main()
