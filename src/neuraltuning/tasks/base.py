"""What a task is: prompts, targets and scores. Knows nothing of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from PIL import Image

from neuraltuning.data.sample import Sample
from neuraltuning.reply import Reply

if TYPE_CHECKING:
    from neuraltuning.evaluation.metrics.image_features import FeatureExtractor


@dataclass(frozen=True, eq=False)
class Example:
    """One task's view of a sample: what is asked, what should be replied, what the task tokens stand for.

    Attributes:
        task: the task's name.
        id: unique among the task's examples of a split: "scenes-test-000012/referring_segmentation/1".
        image: the input image, or None where the task needs none.
        prompt: the user's text.
        reply: the text to be learnt, with task tokens.
        targets: task token -> what each of its occurrences in `reply` stands for, in order
            (`<OBJ>`: (height, width) bool masks; `<GEN>`: the picture).
        references: accepted replies for scoring text (captions, answers); `(reply,)` where empty.
        kind: what sort of example it is, for scores by kind: "relation", "count", ...
        sample: the sample it is a view of, for scores that need all of its objects.
    """

    task: str
    id: str
    image: Image.Image | None
    prompt: str
    reply: str
    targets: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    kind: str = ""
    sample: Sample | None = None


@dataclass(frozen=True)
class ScoringResources:
    """What metrics may need beside examples and replies.

    Attributes:
        features: the named network whose features drawn pictures are compared in; None where it is not at hand.
        categories: all class names of the data set; None where they are not known.
    """

    features: FeatureExtractor | None = None
    categories: tuple[str, ...] | None = None


class Metric(Protocol):
    """Collects (example, reply) pairs and computes scores; mergeable, so that several processes give one result."""

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        """Takes one pair in and returns the values of this item alone, for the report."""

    def merge(self, other: Any) -> None:
        """Takes in everything that another metric of the same class collected."""

    def compute(self) -> dict[str, Any]:
        """Scores over all pairs so far, `n` (their number) among them."""


class Task(ABC):
    """One multimodal task. Stateless: everything random comes from the generator passed in.

    Attributes:
        name: "referring_segmentation".
        tokens: the task tokens that its replies may carry.
        max_new_tokens: the longest reply to generate.
        success: which of the metric's per-item values makes an item a success in the report, and from what value on.
    """

    name: ClassVar[str]
    tokens: ClassVar[tuple[str, ...]] = ()
    max_new_tokens: ClassVar[int] = 64
    success: ClassVar[tuple[str, float]]

    @abstractmethod
    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        """The task's examples of a sample, in random order; none where the sample lacks what the task needs.

        Args:
            sample: any sample.
            rng: the only source of randomness; the evaluator seeds it from the sample's id, so that every model is
                asked the same.
            held_out_wordings: ask in the task's wordings that are never used in training.
        """

    @abstractmethod
    def metric(self, resources: ScoringResources) -> Metric:
        """A fresh metric for one split."""

    def constant_replies(self, example: Example) -> dict[str, Reply]:
        """Trivial baselines that need no model, by name; scored on the same items ("all_objects")."""
        return {}
