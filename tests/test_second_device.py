"""Every program runs where its model is on another device than the data, and gives what it gives on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import backend_registration
from transformers import TrainingArguments

from neuraltuning.configuration import validate_settings
from neuraltuning.data.sample import Sample
from neuraltuning.evaluation.metrics import coco_tools
from neuraltuning.model_folder import find_model
from neuraltuning.tasks import get_task
from neuraltuning.training.settings import RunSettings
from tests.tiny_models import model_values, sample

TASKS = ("referring_segmentation", "captioning", "visual_question_answering", "text_to_image")


def settings(folder: Path) -> RunSettings:
    """A run of two steps of each stage."""
    stage = {"steps": 2, "batch_size": 2, "warmup_steps": 1, "log_every": 1, "validation_samples": 2}
    rates = dict.fromkeys(("tuner", "projector", "task_tokens", "bridges", "decoders"), 1e-2)
    values = {
        "model": model_values(folder, names={"slots": 90, "vocabulary": 4}),
        "data": {"source": "squares", "row_length": 240},
        "mixture": dict.fromkeys(TASKS, 1.0),
        "alignment_images": 6,
        "warmup": {**stage, "prepare_images": 6, "learning_rates": {"bridges": 1e-2, "decoders": 1e-2}},
        "reading": {**stage, "mixture": {"captioning": 1.0}, "learning_rates": {"tuner": 1e-2}},
        "tuning": {**stage, "learning_rates": rates},
        "evaluation": {"samples": {"test": 3}, "batch_size": 3, "showcase": 1},
    }
    return validate_settings(RunSettings, values, "the test")


def run(folder: Path, parts: Path) -> dict[str, Any]:
    """What tuning, evaluating, looking at neurons and serving give."""
    from neuraltuning.analysis.neurons import analyse_neurons
    from neuraltuning.evaluation.evaluator import evaluate
    from neuraltuning.serving.engine import Engine
    from neuraltuning.serving.engine_types import ChatQuery, Event, Failed, Finished
    from neuraltuning.serving.models import load_models
    from neuraltuning.training.run import tune

    tune(settings(parts), folder)
    losses = [json.loads(line).get("loss") for line in (folder / "training_log.jsonl").read_text().splitlines()]
    scores = json.loads(evaluate(folder, None, None, folder).read_text())["splits"]["test"]
    neurons, _ = analyse_neurons(folder, split="validation", samples=2, threshold=0.5)
    engine = Engine(load_models({"tuned": find_model(folder)}))
    device = engine.models["tuned"].device.type
    ended: list[Event] = []
    answered = threading.Semaphore(0)

    def hear(event: Event) -> None:
        if isinstance(event, (Finished, Failed)):
            ended.append(event)
            answered.release()

    for temperature in (0.0, 1.0):
        query = ChatQuery("tuned", "Please segment it.", sample().image, temperature=temperature, max_new_tokens=6)
        engine.submit(query, hear)
        assert answered.acquire(timeout=60)
    engine.close(0.0)
    return {
        "device": device,
        "losses": [loss for loss in losses if loss is not None],
        "scores": scores,
        "neurons": {key: value for key, value in neurons.items() if key != "run"},
        "replies": [event.reply.text if isinstance(event, Finished) else repr(event) for event in ended],
    }


def pretrain(folder: Path) -> dict[str, float]:
    """What pretraining the image parts gives."""
    from neuraltuning.generation import pretrain_prior, pretrain_tokenizer

    scores = pretrain_tokenizer.pretrain(folder, steps=4, decoder_steps=2, batch=2, scenes=16, seed=0)
    scores |= pretrain_prior.pretrain(folder, encoder_name="efficientnet-lite0", steps=4, batch=4, scenes=16, seed=0)
    del scores["seconds_per_picture"]
    return scores


def main(folder: Path) -> None:
    """Prints what a run and pretraining give on the CPU and on a second device."""
    from tests import elsewhere
    from tests.generation.test_pretraining import make_small

    with pytest.MonkeyPatch.context() as patch:
        squares = [sample(number) for number in range(8)]

        def open_split(source: str, split: str, seed: int, size: int | None = None) -> list[Sample]:
            return squares[: size or 8]

        for module in ("training.run", "evaluation.evaluator", "analysis.run_examples"):
            patch.setattr(f"neuraltuning.{module}.open_split", open_split)
        patch.setattr(coco_tools, "why_missing", lambda: "Java starts slowly.")
        for name in TASKS:
            patch.setattr(type(get_task(name)), "max_new_tokens", 6)
        elsewhere.add_device()  # before autograd, which counts devices once
        make_small(patch)
        patch.setattr(
            "neuraltuning.generation.pretrain_prior.resolve_dtype", lambda _: torch.float32
        )  # no autocast there
        with pytest.MonkeyPatch.context() as here_alone:  # names are fitted in float32 there by themselves
            here_alone.setattr("neuraltuning.naming.resolve_dtype", lambda _: torch.float32)
            here = {**run(folder / "here", folder), "pretrained": pretrain(folder / "parts here")}
        device = torch.device(elsewhere.NAME, 0)
        generation = ("generation.pretrain_tokenizer", "generation.pretrain_prior")
        for module in ("device", "training.run", "evaluation.evaluator", "analysis.neurons", *generation):
            patch.setattr(f"neuraltuning.{module}.best_device", lambda: device)
        patch.setattr("accelerate.Accelerator.device", device)
        patch.setattr(TrainingArguments, "device", property(lambda arguments: arguments._setup_devices and device))
        there = {**run(folder / "there", folder), "pretrained": pretrain(folder / "parts there")}
    print(json.dumps([here, there]))


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="torch can't be given a device in Python",
)
def test_a_model_on_another_device_gives_what_it_gives_on_the_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_second_device", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    here, there = json.loads(done.stdout.splitlines()[-1])
    assert (here.pop("device"), there.pop("device")) == ("cpu", "elsewhere")
    assert len(here["losses"]) == 6
    # a rounding chooses another code, now and then
    assert here.pop("pretrained") == pytest.approx(there.pop("pretrained"), rel=0.05, abs=0.05)
    ours, theirs = flat(here), flat(there)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        same = pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value
        assert theirs[key] == same, key


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """Each number and text by where it stands."""
    if not isinstance(value, dict | list):
        return {key: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for name, inner in pairs for k, v in flat(inner, f"{key}/{name}").items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
