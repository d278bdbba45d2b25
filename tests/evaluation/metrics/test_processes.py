"""Two processes that each score half of the items give, merged, the digits of one process: every family of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from neuraltuning.data.sample import ObjectAnnotation, Sample
from neuraltuning.evaluation.metrics import coco_tools
from neuraltuning.evaluation.metrics.boxes import BoxMetric
from neuraltuning.evaluation.metrics.captions import CaptionMetric
from neuraltuning.evaluation.metrics.classification import ClassificationMetric
from neuraltuning.evaluation.metrics.generation import GenerationMetric
from neuraltuning.evaluation.metrics.image_features import FeatureExtractor
from neuraltuning.evaluation.metrics.regression import RegressionScores
from neuraltuning.evaluation.metrics.salient import SaliencyScores
from neuraltuning.evaluation.metrics.segmentation import SegmentationMetric
from neuraltuning.evaluation.metrics.vqa import VQAMetric
from neuraltuning.reply import Reply, mask_box
from neuraltuning.tasks.base import Example

ITEMS = 24
SIDE = 6


def colors(images: Sequence[Image.Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A network's stand-in: the mean color as features, and a classifier on it."""
    found = np.array([np.asarray(image).mean(axis=(0, 1)) for image in images])
    return found, found / 40.0


def metrics() -> dict[str, Any]:
    """One empty metric of each family."""
    return {
        "masks": SegmentationMetric(),
        "boxes": BoxMetric("<BOX>"),
        "captions": CaptionMetric(["dog", "cat"]),
        "answers": VQAMetric(),
        "labels": ClassificationMetric(),
        "pictures": GenerationMetric(FeatureExtractor("colors", colors), "<GEN>"),
        "sentiment": RegressionScores(),
        "salient": SaliencyScores(),
    }


def collect(items: Iterable[int]) -> dict[str, Any]:
    """What one process collects of some items; an item is the same in every process."""
    coco_tools.warm_up = lambda: None  # two more METEORs would take 2.6 GB
    found = metrics()
    for i in items:
        rng = np.random.default_rng(i)
        masks, targets = rng.random((2, int(rng.integers(1, 3)), SIDE, SIDE)) < 0.4
        picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        drawn = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        # what the PTB tokenizer makes of the first line depends on the second
        caption = ("A dog by the A.", "The cat and a dog.", "No. 3 by the dog.")[i % 3]
        annotated = ObjectAnnotation("dog", "animal", targets[0], (0.0, 0.0, 1.0, 1.0))
        example = Example(
            task="t",
            id=f"item-{i:03d}",
            image=None,
            prompt="",
            reply=("A dog by the A.", "3 cats.")[i % 2],
            targets={"<OBJ>": list(targets), "<BOX>": [mask_box(mask) for mask in targets], "<GEN>": [picture]},
            references=(("A dog by the A.", "3 cats.")[i % 2], "A dog."),
            kind="ab"[i % 2],
            sample=Sample(f"item-{i:03d}", image=None, objects=(annotated,)),  # type: ignore[arg-type]
        )
        reply = Reply(caption, masks=masks[: int(rng.integers(0, 3))], images=(drawn,) if i % 5 else ())
        for name in ("masks", "boxes", "captions", "answers", "labels", "pictures"):
            found[name].update(example, reply)
        found["sentiment"].add(*rng.normal(0, 1.5, 2))
        found["salient"].add(rng.random((SIDE, SIDE)), targets[0])
    return found


@pytest.fixture(scope="module")
def halves() -> list[dict[str, Any]]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(collect, [range(1, ITEMS, 2), range(0, ITEMS, 2)]))


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_tools, "warm_up", coco_tools.warm_up)  # put back what `collect` replaces
        return collect(range(ITEMS))


@pytest.mark.parametrize("family", sorted(metrics()))
def test_merged_halves_are_the_whole(halves: list[dict[str, Any]], whole: dict[str, Any], family: str) -> None:
    if family == "captions" and coco_tools.why_missing() is not None:
        pytest.skip("Java or pycocoevalcap is missing")
    first, second = (half[family] for half in halves)
    first.merge(second)
    assert first.compute() == whole[family].compute()
