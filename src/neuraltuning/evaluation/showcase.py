"""Keeps some items of an evaluation as files for the report: successes and failures, with their pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuraltuning.data.records import encode_mask
from neuraltuning.files import write_json
from neuraltuning.reply import Reply
from neuraltuning.tasks import Example, ScoringResources, Task

if TYPE_CHECKING:
    from neuraltuning.evaluation.evaluator import Answered


def write_showcase(output: Path, split: str, answered: Answered, resources: ScoringResources, count: int) -> None:
    """Writes up to `count` items of one task to `output/showcase/<split>/<task>/`, up to half of them failures.

    They are the first successes and the first failures in the order of the data set, not the best or the worst.
    """
    folder = output / "showcase" / split / answered.task.name
    shutil.rmtree(folder, ignore_errors=True)
    values = item_values(answered.task, answered.examples, answered.replies, resources)
    key, least = answered.task.success
    verdicts = [v.get(key, 0.0) >= least for v in values]
    successes = [i for i, good in enumerate(verdicts) if good]
    failures = [i for i, good in enumerate(verdicts) if not good]
    n_failures = min(len(failures), max(count // 2, count - len(successes)))
    chosen = [*successes[: count - n_failures], *failures[:n_failures]]
    for place, i in enumerate(chosen):
        _write_item(folder, place, answered.examples[i], answered.replies[i], values[i], verdicts[i])


def item_values(
    task: Task, examples: Sequence[Example], replies: Sequence[Reply], resources: ScoringResources
) -> list[dict[str, float]]:
    """The scores of each item alone."""
    metric = task.metric(resources)
    values = [metric.update(e, r) for e, r in zip(examples, replies, strict=True)]
    # scores that need the whole split first, by the example's id
    later: dict[str, dict[str, float]] = metric.per_item() if hasattr(metric, "per_item") else {}
    return [{**v, **later.get(e.id, {})} for e, v in zip(examples, values, strict=True)]


def _write_item(
    folder: Path, place: int, example: Example, reply: Reply, values: dict[str, float], success: bool
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "id": example.id,
        "task": example.task,
        "kind": example.kind,
        "prompt": example.prompt,
        "reply": reply.text,
        "reference": example.reply,
        "scores": {k: round(float(v), 4) for k, v in values.items()},
        "masks": [
            {"rle": encode_mask(mask), "score": round(float(score), 4), "phrase": phrase}
            for mask, score, phrase in zip(reply.masks, reply.scores, mentions_in(reply.text), strict=False)
        ],
        "target_masks": [encode_mask(mask) for mask in example.targets.get("<OBJ>", ())],
        "verdict": "success" if success else "failure",
    }
    if example.image is not None:
        record["image"] = f"{place}.png"
        example.image.save(folder / record["image"])
    if reply.images:
        record["generated"] = [f"{place}-reply-{k}.png" for k in range(len(reply.images))]
        for name, image in zip(record["generated"], reply.images, strict=True):
            image.save(folder / name)
    targets: Sequence[Any] = example.targets.get("<GEN>", ())
    if targets:
        record["target_image"] = f"{place}-target.png"
        targets[0].save(folder / record["target_image"])
    write_json(folder / f"{place}.json", record)


def mentions_in(text: str, token: str = "<OBJ>") -> list[str]:
    """For each task token the words before it, back to the token, comma or full stop before them."""
    mentions = []
    for piece in text.split(token)[:-1]:
        words = piece.replace(".", ",").split(",")[-1].strip()
        mentions.append(words.removeprefix("and ").strip())
    return mentions
