"""Names found in a graph are those that the model finds: groups, their order, their words, and what finds no room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from neuraltuning.export.naming_graph import NamingGraph, merged
from neuraltuning.export.part import Comparisons, Part, Run
from neuraltuning.export.tracing import open_file, trace
from neuraltuning.naming import Naming
from tests.test_naming import fitted, patches

FIELDS = ("ids", "shares", "classes", "attributes", "boxes")
SLOTS = 20
LIMIT = 1.0
"""Of distances within a group."""


class Named(Part):
    """A naming alone."""

    name = "naming"

    def __init__(self, naming: Naming) -> None:
        super().__init__()
        self.named = NamingGraph(naming)
        self.inputs = {"tokens": torch.cat([patches(["dd..", "....", "..cc"]), patches(["....", "pp..", "...."])])}
        self.open_axes = {"tokens": {0: "images"}}
        self.outputs = FIELDS

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        said = self.named(given["tokens"])
        return said.ids, said.shares, said.classes, said.attributes, said.boxes

    def comparisons(self, run: Run) -> Comparisons:
        raise NotImplementedError


class Merged(Part):
    """The clustering alone."""

    name = "merged"

    def __init__(self) -> None:
        super().__init__()
        self.inputs = {"distance": torch.rand(2, 9, 9), "shown": torch.ones(2, 9, dtype=torch.bool)}
        self.open_axes = {"distance": {0: "images"}, "shown": {0: "images"}}
        self.outputs = ("groups",)

    def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return (merged(given["distance"], given["shown"], LIMIT),)

    def comparisons(self, run: Run) -> Comparisons:
        raise NotImplementedError


@pytest.fixture(scope="module")
def naming() -> Naming:
    return fitted(slots=SLOTS, told=2)


@pytest.fixture(scope="module")
def run(naming: Naming, tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("naming") / "naming.onnx"
    with torch.no_grad():
        trace(Named(naming), path)
    return open_file("naming", path)


def drawn(count: int) -> Tensor:
    """Pictures of up to six objects, one a sign, in twelve places."""
    generator = np.random.default_rng(5)
    pictures = []
    for number in range(count):
        owners = generator.integers(0, 1 + number % 7, 12) * (generator.random(12) < 0.6)
        kinds = "." + "".join(generator.choice(list("dpcDC"), 6))
        letters, signs = "".join(kinds[o] for o in owners), "".join(".123456"[o] for o in owners)
        rows = [slice(0, 4), slice(4, 8), slice(8, 12)]
        pictures.append(patches([letters[r] for r in rows], [signs[r] for r in rows]))
    return torch.cat(pictures)


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_a_graph_says_what_the_model_says(naming: Naming, run: Run, noise: float) -> None:
    tokens = drawn(60)
    tokens = tokens + noise * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(1))
    wanted, found = naming(tokens), run({"tokens": tokens})
    for name in FIELDS:
        torch.testing.assert_close(found[name], getattr(wanted, name), atol=1e-5, rtol=1e-5)
    lengths = (wanted.ids != naming.wording.padding).sum(1)
    assert lengths.max() > SLOTS - 4 and len(lengths.unique()) > 2  # else this would say little


def test_where_nothing_is_shown_the_background_alone_is_named(naming: Naming, run: Run) -> None:
    tokens = patches(["....", "....", "...."])
    found = run({"tokens": tokens})
    assert torch.equal(found["ids"], naming(tokens).ids)
    assert (found["ids"] != naming.wording.padding).sum() == 5  # the opening, "blue background", the closing


def test_clusters_are_those_of_scipy(tmp_path: Path) -> None:
    path = tmp_path / "merged.onnx"
    trace(Merged(), path)
    generator = torch.Generator().manual_seed(2)
    distance = 3.0 * torch.rand(80, 9, 9, generator=generator)
    distance = torch.maximum(distance, distance.mT)
    shown = torch.rand(80, 9, generator=generator) < 0.8
    groups = open_file("merged", path)({"distance": distance, "shown": shown})["groups"]
    sizes = set()
    for pairs, seen, found in zip(distance, shown, groups, strict=True):
        own = pairs[seen][:, seen].numpy()
        numbers = fcluster(linkage(own[np.triu_indices(len(own), 1)], "complete"), LIMIT, "distance")
        found = found[seen]
        np.testing.assert_array_equal(found[:, None] == found, numbers[:, None] == numbers)
        sizes |= set(np.bincount(numbers))
    assert {1, 2, 3} <= sizes
