from __future__ import annotations

import errno
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image
from pydantic import Field

from neuraltuning import Query, Reply, RunError
from neuraltuning.cli import main
from neuraltuning.configuration import Settings
from neuraltuning.serving.engine_types import ChatQuery, Finished, OnEvent
from tests.command_line import Run, command_line
from tests.data.sources.published import refer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return command_line(monkeypatch, capsys)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    """Puts a module with these members where `import name` finds it."""
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


class FakeModel:
    def to(self, device: object) -> FakeModel:
        return self

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        return [self._reply(query) for query in queries]

    def _reply(self, query: Query) -> Reply:
        if query.text == "interrupt":
            raise KeyboardInterrupt
        if query.image is None:
            return Reply("Here: <GEN>", images=(Image.new("RGB", (8, 8)),))
        masks = np.ones((2, query.image.height, query.image.width), dtype=bool)
        return Reply("Two <OBJ> <OBJ>.", masks=masks, scores=np.ones(2, dtype=np.float32))


class FakeEngine:
    def __init__(self, models: Mapping[str, FakeModel], *, max_batch: int, max_waiting: int) -> None:
        self._model = models["model"]
        assert max_waiting >= max_batch

    def submit(self, query: ChatQuery, on_event: OnEvent) -> None:
        [reply] = self._model.reply_batch([Query(query.image, query.text)])
        on_event(Finished(reply, "stop", 1, 0, 1))

    def close(self, drain_seconds: float) -> None:
        pass


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder; what is loaded from it is a `FakeModel`, which a `FakeEngine` asks."""
    from neuraltuning import MultitaskModel

    monkeypatch.setattr(MultitaskModel, "from_pretrained", lambda folder: FakeModel())
    monkeypatch.setattr("neuraltuning.serving.engine.Engine", FakeEngine)
    (tmp_path / "tuned").mkdir()
    return tmp_path / "tuned"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (6, 4)).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_version_and_no_command(run: Run) -> None:
    from neuraltuning import __version__

    assert run("--version") == (0, f"neuraltuning {__version__}\n", "")
    status, out, err = run()
    assert status == 2
    assert "tune" in out + err


def test_wrong_usage_exits_2(run: Run) -> None:
    assert run("predict")[0] == 2
    assert run("evaluate", "somewhere", "--limit", "0")[0] == 2
    assert run("nothing")[0] == 2


def test_predict_prints_the_reply_and_writes_the_rest(run: Run, model: Path, picture: Path, tmp_path: Path) -> None:
    status, out, err = run("predict", model, "--image", picture, "--text", "Segment both.", "--out", tmp_path / "out")
    assert (status, out) == (0, "Two <OBJ> <OBJ>.\n")
    assert err == f"Wrote 2 masks and reply.json to {tmp_path / 'out'}.\n"
    assert (tmp_path / "out" / "mask-2.png").is_file()
    assert (tmp_path / "out" / "overlay.png").is_file()


def test_predict_takes_a_run_for_the_model_in_it(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from neuraltuning import MultitaskModel

    loaded: list[Path] = []

    def load(folder: Path) -> FakeModel:
        loaded.append(folder)
        return FakeModel()

    monkeypatch.setattr(MultitaskModel, "from_pretrained", load)
    assert run("predict", model, "--text", "Draw.", "--out", tmp_path / "out")[0] == 0
    (model / "model").mkdir()
    (model / "model" / "config.json").touch()
    assert run("predict", model, "--text", "Draw.", "--out", tmp_path / "out")[0] == 0
    assert loaded == [model, model / "model"]


def test_predict_draws_without_an_image(run: Run, model: Path, tmp_path: Path) -> None:
    status, out, err = run("predict", model, "--text", "Draw a cat.", "--out", tmp_path / "out")
    assert (status, out) == (0, "Here: <GEN>\n")
    assert "1 picture and reply.json" in err
    assert (tmp_path / "out" / "image-1.png").is_file()


def test_predict_answers_a_file_of_requests_and_resumes(run: Run, model: Path, picture: Path, tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    lines = [{"id": name, "image": "cat.png", "text": "Segment both."} for name in "abc"]
    requests.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "out"
    assert run("predict", model, "--requests", requests, "--out", out)[:2] == (
        0,
        f"Answered 3 of 3 requests: {out}/*/reply.json\n",
    )
    (out / "b" / "reply.json").unlink()
    status, said, _ = run("predict", model, "--requests", requests, "--out", out)
    assert (status, said) == (0, f"Answered 3 of 3 requests (2 of them before): {out}/*/reply.json\n")


def test_predict_goes_on_after_an_unusable_image_and_exits_1(run: Run, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (6, 4)).save(folder / "good.png")
    (folder / "bad.png").touch()
    status, out, err = run("predict", model, "--images", folder, "--text", "Segment both.", "--out", tmp_path / "out")
    assert status == 1
    assert "Answered 1 of 2 requests" in out
    assert "1 of 2 requests could not be answered, the first is bad.png" in err
    assert "is empty (0 bytes)" in err
    assert (tmp_path / "out" / "good.png" / "reply.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "cat.png"], "Say what to do: --text"),
        (["--text", " "], "--text: the text is empty"),
        (["--text", "a" * 100_001], "--text: the text has 100,001 characters"),
        (["--text", "a", "--image", "none.png"], "There is no image none.png."),
        (["--text", "a", "--images", "none"], "There is no folder of images none."),
        (["--text", "a", "--image", "a.png", "--images", "b"], "Give either --image or --images, not both."),
        (["--requests", "none.jsonl"], "There is no requests file none.jsonl."),
        (["--requests", "none.jsonl", "--text", "a"], "leave out --text, --image and --images"),
    ],
)
def test_unusable_input_is_one_sentence_and_exits_2(run: Run, model: Path, arguments: list[str], said: str) -> None:
    status, out, err = run("predict", model, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_missing_model_folder_exits_2(run: Run) -> None:
    for command in (["predict", "none", "--text", "a"], ["evaluate", "none"], ["report", "none"]):
        status, _, err = run(*command)
        assert (status, err) == (2, "There is no folder none; `neuraltuning tune` writes one.\n")


def test_interruption_exits_130_and_says_how_to_go_on(run: Run, model: Path) -> None:
    status, _, err = run("predict", model, "--text", "interrupt")
    assert (status, err) == (
        130,
        "Interrupted. What was answered is kept: run the same command again to answer the rest.\n",
    )


def test_evaluate_and_report_print_what_they_wrote(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []

    def evaluate(
        folder: Path, splits: list[str] | None, limit: int | None, output: Path, *, inception_weights: Path | None
    ) -> Path:
        calls.append((folder, splits, limit, output, inception_weights))
        return output / "metrics.json"

    stand_in(monkeypatch, "neuraltuning.evaluation.evaluator", evaluate=evaluate)
    stand_in(monkeypatch, "neuraltuning.report.page", write_report=lambda folder: folder / "report.html")
    assert run("evaluate", tmp_path)[:2] == (0, f"{tmp_path / 'metrics.json'}\n")
    other = tmp_path / "other"
    options = ("--split", "a", "--split", "b", "--limit", 3, "--output", other, "--inception-weights", "inception.pth")
    assert run("evaluate", tmp_path, *options)[0] == 0
    assert calls == [
        (tmp_path, None, None, tmp_path, None),
        (tmp_path, ["a", "b"], 3, other, Path("inception.pth")),
    ]
    assert run("report", tmp_path)[:2] == (0, f"{tmp_path / 'report.html'}\n")


def test_data_convert_prints_counts_and_what_is_left_out(run: Run, tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    (tmp_path / "images" / "COCO_train2014_000000000012.jpg").write_bytes(b"no picture")
    arguments = ("--from", "refcoco", "--images", tmp_path / "images", "--to", tmp_path / "out")
    status, out, err = run("data", "convert", tmp_path / "refcoco", *arguments)
    assert (status, out) == (2, "")
    assert (
        "More than 1.0% of the split train can't be used (1 of 2 so far). The first is image 12 of refs(unc).p: " in err
    )
    assert not (tmp_path / "out").exists()
    status, out, err = run("data", "convert", tmp_path / "refcoco", *arguments, "--max-left-out", 0.5)
    assert status == 0
    assert "train: 2 images, 4 refs (published: 42,404), 6 sentences (published: 120,624), 1 left out, sha256" in out
    assert "train, image 12 is left out: The image" in err
    assert out.splitlines()[-1] == str(tmp_path / "out" / "dataset.json")


def test_data_convert_keeps_pictures_beside(run: Run, tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    arguments = ("--from", "refcoco", "--images", tmp_path / "images", "--to", tmp_path / "out")
    assert run("data", "convert", tmp_path / "refcoco", *arguments, "--pictures-beside")[0] == 0
    pictures = {path.read_bytes() for path in (tmp_path / "out" / "train" / "pictures").rglob("*.jpg")}
    assert pictures and pictures <= {path.read_bytes() for path in (tmp_path / "images").iterdir()}


def test_data_convert_of_files_that_are_not_what_they_should_be(run: Run, tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    arguments = ("--images", tmp_path / "images", "--to", tmp_path / "out")
    (tmp_path / "refcoco" / "snli_ve_dev.jsonl").write_bytes(b'{"sentence2": "caf\xe9"}')
    (tmp_path / "images" / "train.json").write_text('[{"id": ')
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("../a.txt", "a")
    cases = {
        ("refcoco", "coco"): "holds no instances_*.json and no captions_*.json",
        ("refcoco", "snli-ve"): "snli_ve_dev.jsonl, line 1, is no text in UTF-8",
        ("images", "llava"): "train.json is no JSON",
        ("refcoco", "duts"): "holds no folder DUTS-TR-Mask or DUTS-TE-Mask of masks",
        ("a.zip", "refcoco"): "a.zip is not unpacked: its entry '../a.txt' would leave the folder",
        ("a.zip/refcoco", "refcoco"): "a.zip is not unpacked",
        ("none.zip", "refcoco"): "There is no folder",
    }
    for (folder, kind), sentence in cases.items():
        status, out, err = run("data", "convert", tmp_path / folder, "--from", kind, *arguments)
        assert (status, out) == (2, "")
        assert sentence in err
        assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_data_check_says_what_would_fail(run: Run, tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    arguments = ("--from", "refcoco", "--images", tmp_path / "images", "--to", tmp_path / "out")
    assert run("data", "convert", tmp_path / "refcoco", *arguments)[0] == 0
    status, out, err = run("data", "check", tmp_path / "out")
    assert status == 0
    assert "Whether texts are too long was not looked at: name a run's configuration by --config." in err
    assert "cut_off: an image whose" in out
    findings = json.loads((tmp_path / "out" / "check.json").read_text())
    assert findings["samples"] == {"train": 2, "validation": 1, "test_a": 1}
    assert [problem["kind"] for problem in findings["problems"]] == ["cut_off"]
    shard = tmp_path / "out" / "train" / "part-00000.parquet"
    data = shard.read_bytes()
    place = data.index(b"JFIF")
    shard.write_bytes(data[:place] + b"xxxx" + bytes(40) + data[place + 44 :])
    status, out, err = run("data", "check", tmp_path / "out")
    assert status == 1
    assert "unreadable" in out
    assert "Training or scoring would fail on" in err


def test_data_check_reads_an_address_and_writes_here(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refer(tmp_path / "refcoco", tmp_path / "images")
    arguments = ("--from", "refcoco", "--images", tmp_path / "images", "--to", tmp_path / "out")
    assert run("data", "convert", tmp_path / "refcoco", *arguments)[0] == 0
    fsspec.filesystem("memory").put(str(tmp_path / "out"), "/checked", recursive=True)
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("data", "check", "memory://checked")
    assert (status, out.splitlines()[-1]) == (0, "check.json")
    assert json.loads((tmp_path / "check.json").read_text())["samples"]["train"] == 2
    status, _, err = run("data", "check", "memory://nowhere")
    assert status == 2
    assert err.startswith("memory://nowhere holds no split")


def test_data_scenes_writes_a_split(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("data", "scenes", tmp_path / "scenes", "--split", "test", "--size", 2)
    assert (status, out) == (0, f"{tmp_path / 'scenes'}\n")
    assert len(list((tmp_path / "scenes" / "images").iterdir())) == 2
    status, _, err = run("data", "scenes", tmp_path / "scenes", "--split", "tset")
    assert status == 2
    assert "no split 'tset'" in err


class FakeSettings(Settings):
    steps: int = Field(3, gt=0)


def fake_tuning(monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> list[Any]:
    calls: list[Any] = []

    def tune(settings: FakeSettings, output: Path, resume: bool) -> Path:
        calls.append((settings, output, resume))
        if error is not None:
            raise error
        return output / "model"

    stand_in(monkeypatch, "neuraltuning.training.settings", RunSettings=FakeSettings)
    stand_in(monkeypatch, "neuraltuning.training.run", tune=tune)
    return calls


def test_tune_hands_over_the_configuration(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = fake_tuning(monkeypatch)
    (tmp_path / "run.yaml").write_text("steps: 5")
    status, out, _ = run("tune", tmp_path / "run.yaml", "--output", tmp_path / "out")
    assert (status, out) == (0, f"{tmp_path / 'out' / 'model'}\n")
    assert run("tune", tmp_path / "run.yaml", "--output", tmp_path / "out", "--set", "steps=7", "--resume")[0] == 0
    assert calls == [
        (FakeSettings(steps=5), tmp_path / "out", False),
        (FakeSettings(steps=7), tmp_path / "out", True),
    ]


def test_tune_refuses_a_wrong_key_before_anything_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = fake_tuning(monkeypatch)
    (tmp_path / "run.yaml").write_text("stpes: 5")
    status, _, err = run("tune", tmp_path / "run.yaml", "--output", tmp_path / "out")
    assert (status, calls) == (2, [])
    assert err == f"{tmp_path / 'run.yaml'}: there is no key stpes; did you mean steps?\n"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RunError("The loss is not a number."), 1, "The loss is not a number.\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "The disk is full: "),
        (Exception("Error while serializing: No space left on device (os error 28)"), 1, "The disk is full: "),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command with --resume"),
    ],
)
def test_failed_run_is_one_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, status: int, said: str
) -> None:
    fake_tuning(monkeypatch, error)
    (tmp_path / "run.yaml").touch()
    found, _, err = run("tune", tmp_path / "run.yaml", "--output", tmp_path / "out")
    assert found == status
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_other_errors_keep_their_traceback(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_tuning(monkeypatch, ZeroDivisionError("a bug"))
    (tmp_path / "run.yaml").touch()
    monkeypatch.setattr(sys, "argv", ["neuraltuning", "tune", str(tmp_path / "run.yaml"), "--output", str(tmp_path)])
    with pytest.raises(ZeroDivisionError):
        main()
