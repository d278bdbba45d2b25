from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, field_validator

from neuraltuning.configuration import Settings, dump_settings, load_settings
from neuraltuning.errors import InputError


class Training(Settings):
    steps: int = Field(100, gt=0)
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    shuffle: bool = True


class Mixture(Settings):
    weight: float = 1.0


class Run(Settings):
    llm: str
    output: Path = Path("runs")
    layers: tuple[int, ...] = Field((), max_length=3)
    training: Training = Training()
    tasks: dict[str, Mixture] = Field(default_factory=dict)
    note: str | None = None

    @field_validator("llm")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value:
            raise ValueError("must name a model.")
        return value


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_settings(Run, write(folder, text), overrides)
    return str(caught.value)


def test_values_are_read_by_yaml_1_2(tmp_path: Path) -> None:
    text = "llm: no\nlayers: [1, 010]\ntraining: {steps: 7, learning_rate: 1e-3, shuffle: false}\nnote: ~\n"
    run = load_settings(Run, write(tmp_path, text))
    assert run == Run(
        llm="no", layers=(1, 10), training=Training(steps=7, learning_rate=0.001, shuffle=False), note=None
    )


def test_overrides_win_over_the_file_and_earlier_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, "llm: a\ntraining: {steps: 7}\n")
    run = load_settings(
        Run, path, ["training.steps=8", "training.steps=9", "training.learning_rate=5e-4", "tasks.vqa.weight=2"]
    )
    assert (run.training.steps, run.training.learning_rate, run.training.schedule) == (9, 5e-4, "cosine")
    assert run.tasks == {"vqa": Mixture(weight=2.0)}


def test_override_parses_lists_null_and_equals_signs(tmp_path: Path) -> None:
    path = write(tmp_path, "llm: a\nnote: b\n")
    run = load_settings(Run, path, ["layers=[1, 2]", "note=null", "llm=x=y"])
    assert (run.layers, run.note, run.llm) == ((1, 2), None, "x=y")


def test_dump_round_trips_what_looks_like_another_type(tmp_path: Path) -> None:
    run = Run(llm="1e-3", layers=(3,), training=Training(learning_rate=1e-5), tasks={"yes": Mixture()}, note="true")
    assert load_settings(Run, write(tmp_path, dump_settings(run))) == run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("llm: a\ntraining: {stpes: 3}", "there is no key training.stpes; did you mean training.steps?"),
        ("llm: a\nsteps: 3", "there is no key steps; did you mean training.steps?"),
        ("llm: a\nzzz: 3", "there is no key zzz; the keys there are llm, output, layers, training, tasks, note"),
        ("llm: a\ntasks: {vqa: {wieght: 3}}", "there is no key tasks.vqa.wieght; did you mean tasks.vqa.weight?"),
        ("training: {}", "the key llm is missing"),
        ("llm: a\ntraining: {steps: many}", 'training.steps is "many", but must be a whole number'),
        ("llm: a\ntraining: {steps: '8'}", 'training.steps is "8", but must be a whole number'),
        ("llm: a\ntraining: {steps: 2.5}", "training.steps is 2.5, but must be a whole number"),
        ("llm: a\ntraining: {steps: 0}", "training.steps is 0, but must be greater than 0"),
        ("llm: a\ntraining: {learning_rate: fast}", 'training.learning_rate is "fast", but must be a number'),
        ("llm: a\ntraining: {shuffle: yes}", 'training.shuffle is "yes", but must be true or false'),
        ("llm: a\ntraining: {schedule: linear}", "training.schedule is \"linear\", but must be 'cosine' or 'constant'"),
        ("llm: a\ntraining: 3", "training is 3, but must be keys with values"),
        ("llm: a\nlayers: 3", "layers is 3, but must be a list"),
        ("llm: a\nlayers: [1, 2, 3, 4]", "layers is [1, 2, 3, 4], but must have at most 3 items"),
        ("llm: 3", "llm is 3, but must be text"),
        ("llm: ''", 'llm is "", but must name a model'),
        ("llm: a\nllm: b", "line 2: the key llm stands twice"),
        ("llm: a\ntraining: {steps: 1, steps: 2}", "line 2: the key steps stands twice"),
        ("llm: &x a\nnote: *x", "line 2: aliases (*name) are not taken here"),
        ("llm: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
        ("llm: [a", "line 1: "),
        ("- a", 'must hold keys with values (key: value), but holds ["a"]'),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    found = message(tmp_path, text)
    assert said in found
    assert str(tmp_path / "run.yaml") in found
    assert "\n" not in found


def test_problem_in_an_override_names_the_override(tmp_path: Path) -> None:
    assert message(tmp_path, "llm: a", "training.stpes=3").startswith("--set training.stpes=3: there is no key")
    assert message(tmp_path, "llm: a", "training.steps=x").startswith("--set training.steps=x: training.steps is")
    assert message(tmp_path, "llm: a", "training=[1").startswith("--set training=[1, line 1: ")
    assert "write a dotted key" in message(tmp_path, "llm: a", "training.steps")
    assert "llm is a single value" in message(tmp_path, "llm: a", "llm.name=b")


def test_several_problems_are_counted_and_the_typo_comes_first(tmp_path: Path) -> None:
    found = message(tmp_path, "lm: a\ntraining: {steps: x}")
    assert "there is no key lm; did you mean llm?" in found
    assert "(2 more problems after this one)" in found


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no configuration file .*missing\.yaml"):
        load_settings(Run, tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="can't be read"):
        load_settings(Run, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_settings(Run, tmp_path / "binary.yaml")
