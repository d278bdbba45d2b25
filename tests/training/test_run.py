"""Whole runs: what is written, going on after an interruption, choosing the best weights, refusing what can't work."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from neuraltuning.configuration import dump_settings, load_settings
from neuraltuning.errors import InputError, RunError
from neuraltuning.model import Losses, MultitaskModel
from neuraltuning.packing import Batch
from neuraltuning.tasks import Example
from neuraltuning.training import run as run_module
from neuraltuning.training.run import tune, warm_up
from neuraltuning.training.settings import RunSettings
from neuraltuning.training.stages import Stage, Tuning, Warmup
from neuraltuning.training.trainer import StageTrainer
from tests.training.conftest import RATES, Make, stage

ALL_STAGES = {
    "alignment_images": 6,
    "warmup": stage(4, "bridges", "decoders", prepare_images=6),
}


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "training_log.jsonl").read_text().splitlines()]


def losses(run: Path) -> dict[tuple[str, int], dict[str, float]]:
    """(stage, step) -> the losses of that step; a step that was repeated counts with its last values."""
    found = {}
    for record in read_log(run):
        if "loss" in record:
            found[record["stage"], record["step"]] = {
                k: v for k, v in record.items() if k.startswith("loss") or k in ("learning_rate", "grad_norm")
            }
    return found


def weights(run: Path) -> dict[str, Tensor]:
    return MultitaskModel.from_pretrained(run).trained_state()


def assert_equal_runs(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def at_step(monkeypatch: pytest.MonkeyPatch, stage_class: type[Stage], step: int, act: Callable[[], None]) -> None:
    """Calls `act` in the forward pass of a stage's training step, counted from 1, once."""
    forward = stage_class.forward
    seen = {"steps": 0, "acted": 0}

    def counting(self: Stage, batch: Any) -> Losses:
        if self.training:
            seen["steps"] += 1
            if seen["steps"] == step and not seen["acted"]:
                seen["acted"] = 1
                act()
        return forward(self, batch)

    monkeypatch.setattr(stage_class, "forward", counting)


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crash() -> None:
    raise MemoryError("the machine went down")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs that were never interrupted lie, by name."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def uninterrupted(whole: Path, make: Make) -> Path:
    """The plain run of 6 steps."""
    if not (whole / "plain").exists():
        tune(make(), whole / "plain")
    return whole / "plain"


@pytest.fixture
def uninterrupted_stages(whole: Path, make: Make) -> Path:
    """The run of all three stages."""
    if not (whole / "stages").exists():
        tune(make(**ALL_STAGES), whole / "stages")
    return whole / "stages"


# --- what a run leaves --------------------------------------------------------------------------------------------


def test_a_run_leaves_its_configuration_log_and_model(uninterrupted: Path, make: Make) -> None:
    assert load_settings(RunSettings, uninterrupted / "configuration.yaml") == make()
    names = {path.name for path in uninterrupted.iterdir()}
    assert names == {"configuration.yaml", "training_log.jsonl", "stages", "model"}
    assert not list(uninterrupted.rglob("checkpoint-*"))
    assert list(uninterrupted.rglob("events.out.tfevents*"))
    built = MultitaskModel.build(make().model, make().seed).trained_state()
    moved = {name for name, tensor in weights(uninterrupted).items() if not torch.equal(tensor, built[name])}
    assert {name.split(".")[0] for name in moved} == set(RATES)


def test_the_log_tells_the_losses_of_each_task_and_part(uninterrupted: Path) -> None:
    records = [r for r in read_log(uninterrupted) if "loss" in r]
    assert [r["step"] for r in records] == [1, 2, 3, 4, 5, 6]
    assert {r["stage"] for r in records} == {"tuning"}
    every = set().union(*records)
    assert {"loss", "loss/text", "loss/mask_dice", "loss/gen_mse", "learning_rate", "grad_norm", "seconds"} <= every
    for task in ("referring_segmentation", "captioning", "visual_question_answering", "text_to_image"):
        assert f"loss/text/{task}" in every
    for r in records:
        parts = sum(v for k, v in r.items() if k.startswith("loss/") and not k.startswith("loss/text/"))
        assert r["loss"] == pytest.approx(parts, abs=2e-3)
    rates = [r["learning_rate"] for r in records]
    assert max(rates) <= 1e-2
    assert rates[-1] < 0.2 * max(rates)  # the cosine has come down


def test_the_loss_falls(tmp_path: Path, make: Make) -> None:
    tune(make(steps=24), tmp_path / "run")
    curve = [value["loss/text"] for value in losses(tmp_path / "run").values()]
    assert sum(curve[-5:]) < 0.85 * sum(curve[:5])
    validation = [r["validation"]["text"] for r in read_log(tmp_path / "run") if "validation" in r]
    assert validation[-1] < 0.85 * curve[0]


def test_validation_is_logged_as_often_as_asked_and_at_the_end(tmp_path: Path, make: Make, uninterrupted: Path) -> None:
    once = [r for r in read_log(uninterrupted) if "validation" in r]
    assert [r["step"] for r in once] == [6]
    assert {"loss", "text", "mask_dice", "gen_mse", "text/captioning"} <= set(once[0]["validation"])
    tune(make(validate_every=2, steps=5), tmp_path / "run")
    often = [r["step"] for r in read_log(tmp_path / "run") if "validation" in r]
    assert often == [2, 4, 5]


def test_stages_train_their_parts_one_after_the_other(uninterrupted_stages: Path, make: Make) -> None:
    order = list(dict.fromkeys(stage for stage, _ in losses(uninterrupted_stages)))
    assert order == ["warmup", "tuning"]
    assert [len([s for s, _ in losses(uninterrupted_stages) if s == name]) for name in order] == [4, 6]
    warmed = [v for (name, _), v in losses(uninterrupted_stages).items() if name == "warmup"]
    assert all({k for k in v if "/" in k} == {"loss/mask_dice", "loss/mask_bce", "loss/mask_pointing"} for v in warmed)
    assert weights(uninterrupted_stages)["bridges.mask.mean"].any()  # the warm-up was prepared


def test_a_stage_leaves_the_parts_that_it_does_not_name(tmp_path: Path, make: Make) -> None:
    settings = make(learning_rates={"bridges.mask": 1e-2, "decoders": 1e-3})
    before = MultitaskModel.build(settings.model, settings.seed).trained_state()
    tune(settings, tmp_path / "run")
    after = weights(tmp_path / "run")
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved
    assert {".".join(name.split(".")[:2]) for name in moved} == {"bridges.mask", "decoders.mask", "decoders.image"}


def test_the_most_precise_learning_rate_counts(tmp_path: Path, make: Make) -> None:
    settings = make(learning_rates={"decoders": 1e-2, "decoders.mask": 0.0}, weight_decay=0.0, steps=3)
    before = MultitaskModel.build(settings.model, settings.seed).trained_state()
    tune(settings, tmp_path / "run")
    after = weights(tmp_path / "run")
    moved = {".".join(name.split(".")[:2]) for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"decoders.image"}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    uninterrupted: Path, tmp_path: Path, make: Make
) -> None:
    tune(make(), tmp_path / "again")
    assert_equal_runs(uninterrupted, tmp_path / "again")
    tune(make(seed=1), tmp_path / "other")
    assert losses(tmp_path / "other") != losses(uninterrupted)


# --- interruptions ------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_a_checkpoint_and_the_run_goes_on_to_the_same_end(
    uninterrupted: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    with monkeypatch.context() as patch:
        at_step(patch, Tuning, 2, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune(make(), run)
    assert (run / "stages" / "tuning" / "checkpoint-2" / "trained.safetensors").is_file()
    assert sorted(step for _, step in losses(run)) == [1, 2]
    assert not (run / "model").exists()
    assert signal.getsignal(signal.SIGINT) is before
    tune(make(), run, resume=True)
    assert_equal_runs(uninterrupted, run)


def test_a_crash_loses_only_what_came_after_the_last_checkpoint(
    uninterrupted: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, Tuning, 5, crash)
        with pytest.raises(MemoryError):
            tune(make(), run)
    assert sorted(step for _, step in losses(run)) == [1, 2, 3, 4]
    tune(make(), run, resume=True)
    assert [r["step"] for r in read_log(run) if "loss" in r] == [1, 2, 3, 4, 4, 5, 6]
    assert_equal_runs(uninterrupted, run)


def test_a_crash_before_the_first_checkpoint_starts_the_stage_again(
    uninterrupted: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, Tuning, 2, crash)
        with pytest.raises(MemoryError):
            tune(make(), run)
    tune(make(), run, resume=True)
    assert_equal_runs(uninterrupted, run)


@pytest.mark.parametrize(("stage_class", "step", "act"), [(Warmup, 1, crash), (Warmup, 4, ctrl_c), (Tuning, 6, ctrl_c)])
def test_an_interrupted_stage_is_taken_up_where_it_was(
    uninterrupted_stages: Path,
    tmp_path: Path,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    stage_class: type[Stage],
    step: int,
    act: Callable[[], None],
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, stage_class, step, act)
        with pytest.raises((KeyboardInterrupt, MemoryError)):
            tune(make(**ALL_STAGES), run)
    tune(make(**ALL_STAGES), run, resume=True)
    assert_equal_runs(uninterrupted_stages, run)


def test_a_half_written_checkpoint_is_passed_over(
    uninterrupted: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, Tuning, 3, ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            tune(make(), run)
    tuning = run / "stages" / "tuning"
    (tuning / "checkpoint-5").mkdir()
    shutil.copy(tuning / "checkpoint-3" / "trained.safetensors", tuning / "checkpoint-5")
    tune(make(), run, resume=True)
    assert_equal_runs(uninterrupted, run)


def test_a_finished_run_is_not_trained_again(
    uninterrupted: Path, tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    shutil.rmtree(run / "model")
    at_step(monkeypatch, Tuning, 1, crash)
    tune(make(), run, resume=True)
    assert_equal_runs(uninterrupted, run)


def test_the_signal_of_a_terminal_stops_the_command_line_cleanly(tmp_path: Path, make: Make) -> None:
    """Ctrl-C in a process of its own: exit status 130, a sentence, a checkpoint to go on from."""
    from neuraltuning.data.scenes import write_scenes

    for split in ("train", "validation"):
        write_scenes(tmp_path / "scenes" / split, split, 3)
    data = {"source": str(tmp_path / "scenes"), "row_length": 400}
    configuration = tmp_path / "run.yaml"
    configuration.write_text(dump_settings(make(data=data, steps=3000, save_every=3000)))
    run = tmp_path / "run"
    command = [sys.executable, "-m", "neuraltuning", "tune", str(configuration), "--output", str(run)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 100
    while not (run / "training_log.jsonl").is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    assert "--resume" in complained
    assert "Traceback" not in complained
    assert "checkpoint" in said
    [checkpoint] = (run / "stages" / "tuning").glob("checkpoint-*")
    assert (checkpoint / "trained.safetensors").is_file()
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert f"checkpoint-{state['global_step']}" == checkpoint.name


# --- the best weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scripted", "best"),
    [
        ([4.0, 3.0, 2.0, 1.0], 4),
        ([1.0, 2.0, 3.0, 4.0], 1),
        ([2.0, 1.0, float("nan"), 3.0], 2),
    ],
)
def test_the_weights_of_the_lowest_validation_loss_are_kept(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, scripted: list[float], best: int
) -> None:
    seen: list[dict[str, Tensor]] = []

    def validate(self: StageTrainer) -> dict[str, float]:
        seen.append(self.stage.model.trained_state())
        return {"loss": scripted[len(seen) - 1]}

    monkeypatch.setattr(StageTrainer, "validate", validate)
    tune(make(steps=4, validate_every=1), tmp_path / "run")
    final = weights(tmp_path / "run")
    equal = [all(torch.equal(state[name], final[name]) for name in final) for state in seen]
    assert equal == [step == best for step in (1, 2, 3, 4)]


def test_validation_never_sees_what_is_trained_on(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    inner = run_module.open_split

    def open_split(source: str, split: str, seed: int, size: int | None = None) -> Any:
        opened.append(split)
        return inner(source, split, seed, size)

    monkeypatch.setattr(run_module, "open_split", open_split)
    tune(make(steps=1), tmp_path / "run")
    assert set(opened) == {"train", "validation"}


# --- what can't work ----------------------------------------------------------------------------------------------


def sentence_of(error: type[Exception], settings: RunSettings, output: Path, **options: Any) -> str:
    with pytest.raises(error) as caught:
        tune(settings, output, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    return sentence


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, make: Make) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    sentence = sentence_of(InputError, make(), tmp_path / "run")
    assert str(tmp_path / "run") in sentence
    assert "--resume" in sentence
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_a_finished_run_is_not_overwritten(uninterrupted: Path, make: Make) -> None:
    assert "--resume" in sentence_of(InputError, make(), uninterrupted)


def test_a_run_goes_on_with_its_own_configuration_alone(uninterrupted: Path, make: Make) -> None:
    sentence = sentence_of(InputError, make(steps=7), uninterrupted, resume=True)
    assert "configuration.yaml" in sentence


def test_resuming_in_a_new_folder_starts_a_run(tmp_path: Path, make: Make) -> None:
    tune(make(steps=1), tmp_path / "run", resume=True)
    assert [step for _, step in losses(tmp_path / "run")] == [1]


def test_a_run_that_could_not_begin_leaves_nothing(tmp_path: Path, make: Make) -> None:
    """So that the corrected configuration can be given the same folder."""
    sentence = sentence_of(InputError, make(model={"llm": "/nowhere/llm"}), tmp_path / "run")
    assert "/nowhere/llm" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["bridge", "decoders.musk", "llm", "encoder"])
def test_a_learning_rate_for_an_unknown_part_is_refused(tmp_path: Path, make: Make, part: str) -> None:
    sentence = sentence_of(InputError, make(learning_rates={**RATES, part: 1e-3}), tmp_path / "run")
    assert repr(part) in sentence
    assert "tuning.learning_rates" in sentence
    assert "decoders.mask" in sentence


def test_a_run_whose_stages_came_in_another_order_is_refused(tmp_path: Path, make: Make) -> None:
    """As runs of versions did that read after the warm-up: decoders would go on from an untrained tuner's states."""
    run = tmp_path / "run"
    tune(make(**ALL_STAGES), run)
    (run / "stages" / "warmup" / "done").unlink()
    before = (run / "training_log.jsonl").read_bytes()
    sentence = sentence_of(InputError, make(**ALL_STAGES), run, resume=True)
    assert str(run / "stages") in sentence
    assert "stage tuning, but not all of warmup" in sentence
    assert (run / "training_log.jsonl").read_bytes() == before


def test_a_stage_without_steps_is_left_out(tmp_path: Path, make: Make) -> None:
    """Also of what refuses a stage: a reading without steps neither needs names nor keeps the warm-up from sharing."""
    none = {**stage(3, "tuner"), "steps": 0}
    assert warm_up(make(**ALL_STAGES, reading=none), tmp_path / "start").is_dir()
    tune(make(warmup=none, reading=none, steps=1), tmp_path / "run")
    assert {record["stage"] for record in read_log(tmp_path / "run")} == {"tuning"}


def test_names_that_nothing_teaches_are_refused(tmp_path: Path, make: Make) -> None:
    sentence = sentence_of(InputError, make(model={"names": {"slots": 8}}), tmp_path / "run")
    assert "model.names.slots" in sentence
    assert "alignment_images" in sentence


def test_a_run_with_names_resumes_after_the_warm_up(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the alignment taught comes back with the weights."""
    settings = make(**ALL_STAGES, model={"names": {"slots": 8, "vocabulary": 4}}, steps=2)
    tune(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:

        def stop(self: Tuning, batch: object) -> Losses:
            raise KeyboardInterrupt

        patched.setattr(Tuning, "forward", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(settings, tmp_path / "parts")
    tune(settings, tmp_path / "parts", resume=True)
    ours, theirs = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert (ours["naming.classes.pieces"] >= 0).any()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_reading_comes_before_tuning_and_has_a_mixture_of_its_own(tmp_path: Path, make: Make) -> None:
    names = {"names": {"slots": 90, "vocabulary": 4}}
    for mixture, read in ({"captioning": 1}, {"captioning"}), ({}, set(make().mixture)):
        reading = stage(3, "tuner", "task_tokens", mixture=mixture)
        run = tmp_path / f"run-{len(mixture)}"
        tune(make(alignment_images=6, reading=reading, model=names, steps=1), run)
        records = [r for r in read_log(run) if "loss" in r]
        assert [(r["stage"], r["step"]) for r in records] == [*(("reading", n) for n in (1, 2, 3)), ("tuning", 1)]
        said = {key for r in records[:3] for key in r if key.startswith("loss/")}
        assert said <= {"loss/text", *(f"loss/text/{task}" for task in read)}
        assert len(said) > 1


def test_the_warm_up_reads_what_the_reading_taught(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading comes first, and the decoders learn from the states of the tuner that it leaves."""
    seen = {}
    forward = Warmup.forward

    def watch(self: Warmup, batch: Batch) -> Losses:
        seen[self.tuned] = {n: p.detach().clone() for n, p in self.model.trainable_parameters().items()}
        return forward(self, batch)

    monkeypatch.setattr(Warmup, "forward", watch)
    changes: dict[str, Any] = {**ALL_STAGES, "model": {"names": {"slots": 90, "vocabulary": 4}}, "steps": 1}
    reading = stage(3, "tuner", "task_tokens", mixture={"captioning": 1})
    tune(make(**changes, reading=reading), tmp_path / "read")
    assert [r["stage"] for r in read_log(tmp_path / "read") if "loss" in r] == [
        *["reading"] * 3,
        *["warmup"] * 4,
        "tuning",
    ]
    tune(make(**changes), tmp_path / "unread")
    read, unread = seen[True], seen[False]
    tuner = {name for name in unread if name.startswith("tuner.")}
    assert tuner
    assert any(not torch.equal(read[name], unread[name]) for name in tuner)


def test_no_warm_up_is_shared_by_runs_that_read_first(tmp_path: Path, make: Make) -> None:
    names = {"names": {"slots": 90, "vocabulary": 4}}
    settings = make(**ALL_STAGES, reading=stage(1, "tuner"), model=names)
    with pytest.raises(InputError, match=r"set reading to null\.$"):
        warm_up(settings, tmp_path / "run")


def test_the_warm_up_may_have_a_mixture_of_its_own(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    collate = Warmup.collate

    def watch(stage: Warmup, rows: Sequence[list[Example]]) -> Batch:
        seen.update(example.task for row in rows for example in row)
        return collate(stage, rows)

    mixture = {"reasoning_segmentation": 1.0, "captioning": 1.0}
    warmup = stage(4, "bridges", "decoders", prepare_images=6, mixture=mixture)
    tasks = {"referring_segmentation": 1.0, "reasoning_segmentation": 1.0}
    run = make(warmup=warmup, mixture=tasks, steps=1)
    monkeypatch.setattr(Warmup, "prepare", lambda stage, rows: None)
    monkeypatch.setattr(Warmup, "collate", watch)
    warm_up(run, tmp_path / "run")
    assert seen == {"reasoning_segmentation"}  # captions teach it nothing


def test_a_reading_of_tasks_that_the_run_lacks_is_left_out(tmp_path: Path, make: Make) -> None:
    """So that a run of one task can take a configuration of many."""
    names = {"names": {"slots": 90, "vocabulary": 4}}
    reading = stage(3, "tuner", mixture={"reasoning_segmentation": 1})
    tune(make(alignment_images=6, reading=reading, model=names, steps=1), tmp_path / "run")
    assert {r["stage"] for r in read_log(tmp_path / "run")} == {"tuning"}


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path, make: Make) -> None:
    rates = dict.fromkeys(RATES, 1e30)
    sentence = sentence_of(RunError, make(learning_rates=rates, warmup_steps=0), tmp_path / "run")
    assert "tuning" in sentence
    assert "learning_rates" in sentence
    assert "step 2" in sentence


@pytest.mark.parametrize("task", ["captioning", "text_to_image"])
def test_a_warm_up_without_anything_to_learn_from_is_refused(tmp_path: Path, make: Make, task: str) -> None:
    sentence = sentence_of(InputError, make(**ALL_STAGES, mixture={task: 1.0}), tmp_path / "run")
    assert "warmup" in sentence
    assert "leave it out" in sentence


def test_an_unknown_task_is_refused(tmp_path: Path, make: Make) -> None:
    assert "'drawing'" in sentence_of(InputError, make(mixture={"drawing": 1.0}), tmp_path / "run")


def test_rows_too_short_for_the_images_are_refused(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuraltuning.packing.SHORT_TEXT", 60)
    settings = make(data={"source": "squares", "row_length": 64})
    assert "row_length" in sentence_of(InputError, settings, tmp_path / "run")


def test_rows_too_short_for_every_example_are_no_learning_rates_fault(tmp_path: Path, make: Make) -> None:
    sentence = sentence_of(
        InputError,
        make(data={"source": "squares", "row_length": 64}, model={"template": "long " * 60 + "{prompt}\nAnswer:"}),
        tmp_path / "run",
    )
    assert "row_length" in sentence


def test_progress_is_told_in_lines(tmp_path: Path, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    tune(make(**ALL_STAGES, steps=2), tmp_path / "run")
    said = capfd.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.replace("\r", "\n").splitlines() if re.match(r"\w+ \d+/\d+: ", line)]
    assert [line.partition(":")[0] for line in lines[-3:]] == ["tuning 1/2", "tuning 2/2", "tuning 2/2"]
    assert re.fullmatch(r"tuning 1/2: loss [\d.]+: text [\d.]+ \(\w+ [\d.]+(, \w+ [\d.]+)*\), mask_dice .*", lines[-3])
    assert re.match(r"tuning 2/2: validation loss [\d.]+: text ", lines[-2])
    assert any(line.startswith("warmup 1/") for line in lines)
