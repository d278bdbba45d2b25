"""Neurons by task on a tiny run: counted as a plain pass counts them, the model left as it was, files as documented."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuraltuning.analysis.inspection import inspect_reply
from neuraltuning.analysis.neurons import analyse_neurons, measure_rates, tuner_before_tuning, with_own_replies
from neuraltuning.analysis.overlap import Rates
from neuraltuning.analysis.results import NEURONS
from neuraltuning.analysis.run_examples import RunExamples, run_examples, run_settings
from neuraltuning.errors import InputError
from neuraltuning.model import MultitaskModel
from tests.analysis.conftest import TASKS, strict_json
from tests.command_line import Run
from tests.tiny_models import LAYERS

D_Z = 16


@pytest.fixture(scope="module")
def model(run: Path) -> MultitaskModel:
    return MultitaskModel.from_pretrained(run)


@pytest.fixture(scope="module")
def examples(run: Path) -> RunExamples:
    return run_examples(run_settings(run), "validation", 3)


@pytest.fixture(scope="module")
def rates(model: MultitaskModel, examples: RunExamples) -> Rates:
    return measure_rates(model, examples, lambda done, of: None)


def test_each_image_has_one_example_of_each_task(examples: RunExamples) -> None:
    assert examples.tasks == TASKS and len(examples.by_sample) == 3
    for by_task in examples.by_sample:
        assert {task: example.task for task, example in by_task.items()} == {task: task for task in TASKS}


def test_rates_are_those_of_each_reply_read_alone(model: MultitaskModel, examples: RunExamples, rates: Rates) -> None:
    assert rates.values.shape == (3, len(TASKS), LAYERS, D_Z) and rates.layers == tuple(range(LAYERS))
    for sample, by_task in enumerate(examples.by_sample):
        for task, example in by_task.items():
            alone = inspect_reply(model, example.image, example.prompt, example.reply)
            assert rates.tokens[sample, TASKS.index(task)] == len(alone.tokens)
            for layer, active in alone.active.items():
                assert rates.of(task)[sample, layer] == pytest.approx(active, abs=1e-6), task
    assert rates.values.mean((1, 3)) == pytest.approx(np.full((3, LAYERS), 7 / D_Z), abs=1e-6)


def test_what_an_image_lacks_stays_open(model: MultitaskModel, examples: RunExamples) -> None:
    first, second, _ = examples.by_sample
    holey = replace(examples, by_sample=[{"captioning": first["captioning"]}, second, {}])
    found = measure_rates(model, holey, lambda done, of: None)
    missing = np.isnan(found.values).all((2, 3))
    assert missing.tolist() == [[task != "captioning" for task in TASKS], [False] * 5, [True] * 5]
    assert (found.tokens == 0).tolist() == missing.tolist()


def test_before_tuning_the_network_is_new_and_afterwards_the_tuned_one(
    model: MultitaskModel, examples: RunExamples, rates: Rates
) -> None:
    tuned = {name: value.clone() for name, value in model.trained_state().items()}
    state = torch.random.get_rng_state()
    with tuner_before_tuning(model):
        inside = model.trained_state()
        once = measure_rates(model, examples, lambda done, of: None)
    assert torch.equal(state, torch.random.get_rng_state())
    for name, value in inside.items():
        if not name.startswith("tuner."):
            assert torch.equal(value, tuned[name]), name
        elif "neural_tuning_up" in name:
            assert not value.any()
        else:
            assert value.any() and not torch.equal(value, tuned[name])
    assert all(torch.equal(value, tuned[name]) for name, value in model.trained_state().items())
    with tuner_before_tuning(model):
        assert (measure_rates(model, examples, lambda done, of: None).values == once.values).all()
    assert not (once.values == rates.values).all()
    with pytest.raises(InputError), tuner_before_tuning(model):
        raise InputError("")
    assert all(torch.equal(value, tuned[name]) for name, value in model.trained_state().items())


def test_own_replies_are_the_models(model: MultitaskModel, examples: RunExamples) -> None:
    found = with_own_replies(model, replace(examples, by_sample=examples.by_sample[:1]), lambda what, done, of: None)
    [by_task], [before] = found.by_sample, examples.by_sample[:1]
    assert {task: example.prompt for task, example in by_task.items()} == {t: e.prompt for t, e in before.items()}
    asked = by_task["captioning"]
    assert asked.reply == model.reply(asked.image, asked.prompt, max_new_tokens=6).text != before["captioning"].reply
    measure_rates(model, found, lambda done, of: None)


def test_the_command_writes_a_result_a_table_and_pictures(run: Path, tmp_path: Path, command: Run) -> None:
    status, said, _ = command("analyse", "neurons", run, "--samples", 3, "--output", tmp_path)
    assert status == 0 and said.splitlines()[-1] == str(tmp_path / "neurons.json")
    found = strict_json(tmp_path / "neurons.json")
    assert found["format_version"] == NEURONS.version and found["samples"] == 3 and found["replies"] == "true"
    assert sum(found["neurons"].values()) == LAYERS * D_Z and set(found["tasks"]) == set(TASKS)
    for by_layer in zip(*found["neurons_by_layer"].values(), strict=True):
        assert sum(by_layer) == D_Z
    assert len(found["pairs"]) == 10 and sum(pair["related"] for pair in found["pairs"]) == 1
    [test] = found["tests"]
    assert test["related"] == ["referring_segmentation", "reasoning_segmentation"]
    for measure in ("jaccard", "rank_correlation"):
        assert len(test[measure]["comparisons"]) == 6 and 0 < test[measure]["p"] <= 1
        assert all(c["n"] == 3 and len(c["gain_by_tuning_ci95"]) == 2 for c in test[measure]["comparisons"])
    assert "Within each image" in found["permuted"] and "one model" in found["limits"]
    rows = list(csv.reader((tmp_path / "neurons.csv").open()))
    assert rows[0] == ["layer", "neuron", *TASKS] and len(rows) == 1 + LAYERS * D_Z
    frequencies = np.array(rows[1:], dtype=float)[:, 2:].T.reshape(len(TASKS), LAYERS, D_Z)
    active = [found["tasks"][task]["active"] for task in TASKS]
    assert active == (frequencies >= 0.49999).sum(-1).tolist()
    for name in ("neurons.png", "neurons-overlap.png", "neurons-layers.png"):
        assert min(Image.open(tmp_path / name).size) > 300
    assert "referring segmentation and reasoning segmentation share more neurons" in said


def test_other_tasks_can_be_called_related(run: Path, tmp_path: Path, command: Run) -> None:
    pair = "captioning+visual_question_answering"
    status, _, _ = command(
        "analyse", "neurons", run, "--samples", 2, "--own-replies", "--related", pair, "--output", tmp_path
    )
    found = strict_json(tmp_path / "neurons.json")
    assert status == 0 and found["replies"] == "the model's own"
    assert [test["related"] for test in found["tests"]] == [pair.split("+")]


def test_relations_that_a_run_lacks_are_passed_over(run: Path) -> None:
    found, _ = analyse_neurons(run, split="validation", samples=1, threshold=0.5, related=[("a", "captioning")])
    assert found["tests"] == [] and not any(pair["related"] for pair in found["pairs"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere has no configuration.yaml"),
        (["LORA"], "tuned by lora, which has no sparse neurons"),
        (["RUN", "--related", "captioning"], "--related captioning: write two tasks"),
    ],
)
def test_bad_input_is_a_sentence(run: Path, lora_run: Path, command: Run, arguments: list[str], message: str) -> None:
    folders = {"RUN": str(run), "LORA": str(lora_run)}
    status, said, error = command("analyse", "neurons", *(folders.get(a, a) for a in arguments))
    assert status == 2 and message in error and not said
