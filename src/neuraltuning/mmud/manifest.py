"""What `dataset.json` says of a data set that was built: written by `split`, read by `describe`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

FORMAT = "mmud-built"
"""The format that a built data set's manifest names."""


class Replies(BaseModel):
    """Replies of models that a step used.

    Attributes:
        models: name of a model -> replies of it.
        prompts: name and digest of a prompt -> replies to it.
    """

    models: dict[str, int]
    prompts: dict[str, int]


class Division(BaseModel):
    """How items were divided at random."""

    validation: float
    test: float
    seed: int


class Reviewing(BaseModel):
    """How much people reviewed and how far they agree; see `neuraltuning.mmud.review.agreement.Pair`."""

    reviewers: int
    items: int
    items_of_several: int
    equal_decisions: float | None
    kappa: float | None
    equal_tags: float | None


class Built(BaseModel):
    """How a data set was built.

    Attributes:
        source: name of the data set that images and objects come from.
        division: of the items; None where each stayed in its image's own split.
        taken: items in all splits.
        left_out: reason -> annotated items.
        unreviewed: items taken that nobody reviewed.
        annotate, filter, review: what these steps used; `annotate` of the items taken alone.
    """

    source: str
    division: Division | None
    taken: int
    left_out: dict[str, int]
    unreviewed: int
    annotate: Replies
    filter: Replies
    review: Reviewing


class WrittenSplit(BaseModel):
    """What a manifest says of a split."""

    sha256: str = ""
    left_out: list[Any] = []


class Manifest(BaseModel):
    """What a data card takes from any data set's manifest."""

    format: str = ""
    splits: dict[str, WrittenSplit] = {}
    built: Built | None = None
