"""A task of a user's own, all in this file: prompt, target, token, decoder, loss and metric. Nothing else is touched.

`Pointing` asks where an object's middle is; `<PNT>` is decoded to its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import neuraltuning.decoders
import neuraltuning.tasks
from neuraltuning.configuration import validate_settings
from neuraltuning.data.sample import Sample
from neuraltuning.decoders import register_decoder
from neuraltuning.decoders.base import Decoder, StateShape
from neuraltuning.encoders.base import ImageEncoder, ImageFeatures
from neuraltuning.errors import InputError
from neuraltuning.evaluation.evaluator import evaluate
from neuraltuning.model import MultitaskModel
from neuraltuning.reply import Reply
from neuraltuning.report.page import write_report
from neuraltuning.tasks import Example, Metric, ScoringResources, Task, register_task
from neuraltuning.training.run import tune
from neuraltuning.training.settings import RunSettings
from tests.tiny_models import model_values, sample

Point = tuple[float, float]
TOKEN = "<PNT>"


class PointDecoder(Decoder):
    """A state and the image's tokens -> a place, as shares of width and height."""

    token = TOKEN

    def __init__(self, *, state: StateShape, encoder: ImageEncoder, hidden_size: int = 32) -> None:
        super().__init__()
        self.attend = nn.Linear(state.size, encoder.token_size)
        self.where = nn.Sequential(
            nn.Linear(state.size + encoder.token_size, hidden_size), nn.GELU(), nn.Linear(hidden_size, 2)
        )

    def target_image(self, image: Image.Image | None, target: Point) -> Image.Image | None:
        return image

    def encode_target(self, target: Point) -> np.ndarray:
        return np.array(target, dtype=np.float32)

    def forward(self, states: Tensor, features: ImageFeatures, owners: Tensor) -> Tensor:
        tokens = features.tokens[owners]
        weights = torch.einsum("npc,nc->np", tokens, self.attend(states)).softmax(1)
        seen = torch.einsum("np,npc->nc", weights, tokens)
        return self.where(torch.cat([states, seen], 1)).sigmoid()

    def loss(
        self, states: Tensor, features: ImageFeatures, owners: Tensor, targets: Tensor | None
    ) -> dict[str, Tensor]:
        assert targets is not None
        return {"point": 10.0 * (self(states, features, owners) - targets).square().mean()}

    def decode(
        self,
        states: Tensor,
        features: ImageFeatures | None,
        owners: Tensor | None,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        replies: Tensor | None = None,
        known: int = 0,
    ) -> list[Point]:
        if features is None or owners is None:
            raise InputError("There is no image to point into; pass one.")
        return [(float(x), float(y)) for x, y in self(states, features, owners)[known:]]


class PointMetric:
    """The mean distance of the points, where 1 is the image's side; a missing point is 1 away."""

    def __init__(self) -> None:
        self.distances: list[float] = []

    def update(self, example: Example, reply: Reply) -> dict[str, float]:
        points = reply.decoded.get(TOKEN, ())
        [(x, y)] = example.targets[TOKEN]
        distance = float(np.hypot(points[0][0] - x, points[0][1] - y)) if points else 1.0
        self.distances.append(distance)
        return {"near": 1.0 - distance}

    def merge(self, other: Any) -> None:
        self.distances += other.distances

    def compute(self) -> dict[str, Any]:
        return {"distance": float(np.mean(self.distances)), "n": len(self.distances)}


class Pointing(Task):
    """`Point to the red square.` -> `Here <PNT>.`"""

    name: ClassVar[str] = "pointing"
    tokens: ClassVar[tuple[str, ...]] = (TOKEN,)
    max_new_tokens: ClassVar[int] = 8
    success: ClassVar[tuple[str, float]] = ("near", 0.8)

    def examples(self, sample: Sample, rng: np.random.Generator, *, held_out_wordings: bool = False) -> list[Example]:
        examples = []
        for number, place in enumerate(rng.permutation(len(sample.objects))):
            x, y, width, height = sample.objects[place].box
            middle = ((x + width / 2) / sample.image.width, (y + height / 2) / sample.image.height)
            examples.append(
                Example(
                    task=self.name,
                    id=f"{sample.id}/{self.name}/{number}",
                    image=sample.image,
                    prompt=f"Point to {sample.objects[place].phrases[0].text}.",
                    reply=f"Here {TOKEN}.",
                    targets={TOKEN: [middle]},
                    sample=sample,
                )
            )
        return examples

    def metric(self, resources: ScoringResources) -> Metric:
        return PointMetric()

    def constant_replies(self, example: Example) -> dict[str, Reply]:
        return {"center": Reply(text="", decoded={TOKEN: ((0.5, 0.5),)})}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a user's module does on import; taken back afterwards."""
    monkeypatch.setattr(neuraltuning.tasks, "_TASKS", dict(neuraltuning.tasks._TASKS))
    monkeypatch.setattr(neuraltuning.decoders, "_DECODERS", dict(neuraltuning.decoders._DECODERS))
    register_task(Pointing)
    register_decoder("point", PointDecoder)
    yield


def settings(folder: Path, steps: int) -> RunSettings:
    values = {
        "model": model_values(folder, decoders={"point": {"hidden_size": 24}}),
        "data": {"source": "squares", "row_length": 128},
        "mixture": {"pointing": 2.0, "visual_question_answering": 0.5},
        "tuning": {
            "steps": steps,
            "batch_size": 2,
            "warmup_steps": 5,
            "validation_samples": 2,
            "learning_rates": dict.fromkeys(("tuner", "projector", "task_tokens", "bridges", "decoders.point"), 1e-2),
        },
        "evaluation": {"samples": {"test": 4}, "examples_per_sample": {"pointing": 2}, "showcase": 3},
    }
    return validate_settings(RunSettings, values, "the test")


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares instead of a data set on disk."""

    def open_split(source: str, split: str, seed: int, size: int | None = None) -> list[Sample]:
        return [sample(number) for number in range(size or 6)]

    for module in ("training.run", "evaluation.evaluator"):
        monkeypatch.setattr(f"neuraltuning.{module}.open_split", open_split)


@pytest.mark.usefixtures("registered", "squares")
def test_a_users_task_is_trained_replied_to_scored_and_reported(tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune(settings(tmp_path / "parts", steps=80), run)
    log = [json.loads(line) for line in (run / "training_log.jsonl").read_text().splitlines()]
    losses = [record["loss/point"] for record in log if "loss/point" in record]
    assert losses[-1] < 0.3 * losses[0]
    assert any("loss/text/pointing" in record for record in log)

    model = MultitaskModel.from_pretrained(run)
    reply = model.reply(sample(0).image, "Point to the red square.", max_new_tokens=8)
    assert reply.text == "Here <PNT>."
    [(x, y)] = reply.decoded[TOKEN]
    assert (x, y) == pytest.approx((8 / 48, 10 / 40), abs=0.2)
    assert reply.masks.shape == (0, 40, 48)

    evaluate(run, None, None, run)
    scores = json.loads((run / "metrics.json").read_text())["splits"]["test"]
    assert set(scores) == {"pointing", "visual_question_answering"}
    pointing = scores["pointing"]
    assert pointing["n"] == 8
    assert set(pointing["baselines"]) == {"center", "blank_image", "untuned"}
    assert pointing["distance"] < 0.6 * pointing["baselines"]["center"]["distance"]
    assert pointing["baselines"]["untuned"]["distance"] == 1.0
    assert pointing["teacher_forced"]["distance"] == pytest.approx(pointing["distance"], abs=1e-3)
    assert "pointing" in write_report(run).read_text()


@pytest.mark.usefixtures("registered", "squares")
def test_a_task_whose_token_no_decoder_reads_is_refused(tmp_path: Path) -> None:
    values = settings(tmp_path / "parts", steps=1)
    model = values.model.model_copy(update={"decoders": {}})
    with pytest.raises(InputError, match=r"pointing.*<PNT>.*decoders"):
        tune(values.model_copy(update={"model": model}), tmp_path / "run")


def test_a_decoder_of_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "point"

        def load(self) -> type[Decoder]:
            return PointDecoder

    def entries(*, group: str, name: str | None = None) -> list[Entry]:
        return [Entry()] if group == "neuraltuning.decoders" and name in (None, "point") else []

    monkeypatch.setattr(neuraltuning.decoders, "_DECODERS", dict(neuraltuning.decoders._DECODERS))
    monkeypatch.setattr(neuraltuning.decoders, "entry_points", entries)
    made = settings(tmp_path, steps=1).model
    assert isinstance(MultitaskModel.build(made).decoders["point"], PointDecoder)
