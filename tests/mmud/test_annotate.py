from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from neuraltuning.cli import main
from neuraltuning.data.sample import ObjectAnnotation, Phrase, Sample
from neuraltuning.data.scenes import SceneDataset
from neuraltuning.data.store import SplitWriter
from neuraltuning.errors import InputError, RunError
from neuraltuning.mmud.annotate import Settings, annotate, describe_objects, estimate, make_request
from neuraltuning.mmud.budget import Prices
from neuraltuning.mmud.client import Service
from neuraltuning.mmud.prompt_files import load_prompt
from neuraltuning.mmud.workspace import Workspace
from tests.mmud.chat_server import ANSWER, CAPTION, QUESTION, Asked, ChatServer, Reply, annotated, failed, said
from tests.mmud.data import write_data

KEY = "sk-secret-0123456789"
GERMAN = "Der Regenschirm links steht aufgespannt neben den anderen Dingen und hält dich trocken."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), train=20, test=4)


@pytest.fixture
def workspace(tmp_path: Path, data: Path) -> Workspace:
    return Workspace.create(tmp_path / "work", data)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def service(server: ChatServer, **more: Any) -> Service:
    return Service(server.address, "eye", **{"backoff": 0.01, "timeout": 10.0, "retries": 2, **more})


def first_time(bad: Reply) -> Callable[[Asked], Reply]:
    """Behaves badly the first time that it is asked about an image."""
    return lambda request: annotated() if request.again else bad


def test_each_image_is_annotated_once(workspace: Workspace) -> None:
    with ChatServer() as server:
        summary = annotate(workspace, service(server, prices=Prices(10, 10)), Settings())
        assert (summary.images, summary.annotated, summary.failures) == (24, 24, {})
        assert annotate(workspace, service(server), Settings()).annotated == 24
    assert len(server.asked) == 24
    records = {record.id: record for record in workspace.annotations}
    assert set(records) == set(workspace.ids())
    record = records["test/scenes-test-000002"]
    assert (record.caption, record.question, record.answer) == (CAPTION, QUESTION, ANSWER)
    assert (record.model, record.input_tokens, record.output_tokens, record.cost) == ("eye", 1000, 100, 0.011)
    assert re.fullmatch(r"annotate\.md [0-9a-f]{16}", record.prompt)
    assert summary.spent == pytest.approx(24 * 0.011)


def test_the_model_gets_the_image_and_its_objects() -> None:
    sample = SceneDataset("train", 1, seed=0)[0]
    large = dataclasses.replace(sample, image=sample.image.resize((4000, 3000)))
    prompt = load_prompt("annotate.md", None, ("objects", "size"))
    request = make_request(large, prompt)
    text, url = request.content[0]["text"], request.content[1]["image_url"]["url"]
    assert "1024 x 768 pixels" in text
    for item in sample.objects:
        assert item.category in text
        assert item.phrases[0].text in text
    import base64

    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert (image.format, image.size) == ("JPEG", (1024, 768))
    assert 1024 * 768 / 1000 < request.input_tokens < 1024 * 768 / 400 + len(text)


def test_objects_are_listed_with_boxes_in_the_image_that_is_sent() -> None:
    objects = (
        ObjectAnnotation("dog", "", None, (10, 20, 30, 40), tuple(Phrase(p, "") for p in ("dog", "a", "b", "c", "d"))),  # type: ignore[arg-type]
        ObjectAnnotation("", "", None, (0, 0, 5, 5)),  # type: ignore[arg-type]
    )
    sample = Sample("x", Image.new("RGB", (8, 8)), objects)
    assert describe_objects(sample, 0.5, 0.25) == '1. dog, "a", "b", "c"; 5, 5, 15, 10\n2. object; 0, 0, 2, 1'
    assert describe_objects(dataclasses.replace(sample, objects=())) == "(none)"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (said("no JSON"), "format"),
        (said(""), "empty"),
        (annotated(answer=""), "empty"),
        (said("I'm sorry, but I can't help with that."), "refusal"),
        (annotated(answer=GERMAN), "language"),
        (annotated(finish="length"), "cut_off"),
        (failed(400, "no picture"), "rejected"),
        (failed(500), "unanswered"),
        (failed(429), "unanswered"),
        (Reply(cut="before"), "unanswered"),
        (annotated(wait=6.0), "unanswered"),
    ],
)
def test_misbehaviour_is_asked_again_and_then_recorded(workspace: Workspace, bad: Reply, reason: str) -> None:
    timeout = 2.0 if bad.wait else 10.0  # on a busy machine the server needs a moment to have noted a request
    with ChatServer(first_time(bad)) as server:
        summary = annotate(workspace, service(server, timeout=timeout), Settings(limit=3))
        if reason == "rejected":  # once is enough
            assert (summary.annotated, summary.reasons()) == (0, {"rejected": 3})
            return
        assert summary.annotated == 3
        assert len(server.asked) == 6
        server.behave = lambda request: bad
        summary = annotate(workspace, service(server, timeout=timeout), Settings(limit=5))
    assert summary.annotated == 3
    assert summary.reasons() == {reason: 2}
    assert len(server.asked) == 6 + 2 * 3
    for item, failure in summary.failures.items():
        assert item in workspace.ids()[3:5]
        assert (failure.model, failure.reason) == ("eye", reason)
        assert failure.detail


def test_what_failed_is_asked_again_only_if_asked_for(workspace: Workspace) -> None:
    with ChatServer(lambda request: said("no JSON")) as server:
        annotate(workspace, service(server), Settings(limit=2, attempts=2))
        assert len(server.asked) == 4
        server.behave = lambda request: annotated()
        assert annotate(workspace, service(server), Settings(limit=2, attempts=2)).annotated == 0
        assert len(server.asked) == 4
        assert annotate(workspace, service(server), Settings(limit=2, attempts=2, retry_failed=True)).annotated == 2
    failures = list(workspace.failures)
    assert len(failures) == 4
    assert {(failure.reason, failure.reply, failure.input_tokens) for failure in failures} == {
        ("format", "no JSON", 1000)
    }


def test_an_attempt_of_an_earlier_run_counts(workspace: Workspace) -> None:
    with ChatServer(lambda request: said("no JSON")) as server:
        annotate(workspace, service(server), Settings(limit=1, attempts=1))
        annotate(workspace, service(server), Settings(limit=1, attempts=3))
    assert len(server.asked) == 3


def test_what_was_not_answered_is_asked_in_the_next_run(workspace: Workspace) -> None:
    with ChatServer(lambda request: failed(503)) as server:
        assert annotate(workspace, service(server), Settings(limit=2)).reasons() == {"unanswered": 2}
        server.behave = lambda request: annotated()
        assert annotate(workspace, service(server), Settings(limit=2)).annotated == 2


def test_failure_after_failure_ends_the_run(workspace: Workspace) -> None:
    with ChatServer(lambda request: said("no JSON")) as server, pytest.raises(RunError) as caught:
        annotate(workspace, service(server, concurrency=1), Settings(attempts=1))
    assert len(server.asked) == 20
    assert str(caught.value).startswith("20 items in a row failed, the last, train/scenes-train-")


def test_the_budget_counts_earlier_runs(workspace: Workspace) -> None:
    chosen = {"prices": Prices(1000, 1000), "budget": 10.0, "max_tokens": 100}
    with ChatServer(lambda request: annotated() if request.again else said("no JSON")) as server:
        for _ in range(2):
            with pytest.raises(RunError, match=r"The budget of 10\.00 does not allow another request"):
                annotate(workspace, service(server, **chosen), Settings())
        assert len(server.asked) <= 9
    records = [*workspace.annotations, *workspace.failures]
    assert sum(record.cost for record in records) == pytest.approx(1.1 * len(server.asked))


def test_a_second_process_is_kept_out(workspace: Workspace) -> None:
    with (
        ChatServer() as server,
        workspace.lock("annotate"),
        pytest.raises(InputError, match="Another `mmud annotate` works in"),
    ):
        annotate(workspace, service(server), Settings())
    assert server.asked == []


def test_an_estimate_sends_nothing_and_learns_from_what_was_counted(workspace: Workspace) -> None:
    with ChatServer() as server:
        chosen = service(server, prices=Prices(10.0, 40.0), max_tokens=500)
        before = estimate(workspace, chosen, Settings())
        assert server.asked == []
        assert (before.images, before.left, before.most_output_tokens) == (24, 24, 24 * 500)
        assert before.output_tokens == 24 * 375
        assert 24 * 300 < before.input_tokens < 24 * 3000
        assert before.cost == pytest.approx(Prices(10.0, 40.0).cost(before.input_tokens, before.output_tokens))
        annotate(workspace, chosen, Settings(limit=4))
        after = estimate(workspace, chosen, Settings())
    assert (after.left, after.input_tokens, after.output_tokens) == (20, 20 * 1000, 20 * 100)
    assert after.spent == pytest.approx(4 * 0.014)


def test_a_damaged_data_set_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "train").mkdir(parents=True)
    with SplitWriter(folder / "train") as writer:
        writer.add(SceneDataset("train", 1, seed=0)[0], b"no picture")
    workspace = Workspace.create(tmp_path / "work", folder)
    with ChatServer() as server, pytest.raises(InputError, match="its image is not a picture"):
        annotate(workspace, service(server), Settings())
    assert server.asked == []


# The command line


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs `mmud annotate`: arguments -> (exit status, output); nothing of it may hold the key."""

    def call(server: ChatServer, *arguments: object) -> tuple[int, str]:
        given = ("--address", server.address, "--model", "eye", "--retries", 0, *arguments)
        monkeypatch.setattr(
            sys, "argv", ["neuraltuning", "mmud", "annotate", *map(str, (data, tmp_path / "work", *given))]
        )
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        assert KEY not in said.out + said.err
        return int(caught.value.code or 0), said.out + said.err

    yield call
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_the_command_says_what_came_of_it(command: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    def behave(request: Asked) -> Reply:
        return said(f"not {KEY}") if request.image in bad else annotated()

    bad: set[str] = set()
    with ChatServer(behave) as server:
        status, output = command(server, "--limit", 10, "--input-price", 10, "--output-price", 10)
        assert status == 0
        assert f"Annotated 10 of 10 images, cost 0.11: {tmp_path / 'work' / 'annotations.jsonl'}" in output
        server.behave = lambda request: said(f"not {KEY}") if request.number % 2 else annotated()
        status, output = command(server, "--concurrency", 1, "--attempts", 1)
        assert status == 1
        assert re.search(r"format +│ +7 +│ 29\.2%", output)
        assert "7 of 24 images have no annotation, more than 5% (--max-failed): see" in output
        assert re.search(r"failures\.jsonl, the first is train/scenes-train-\d+ \(format: ", output)
        assert command(server, "--attempts", 1, "--max-failed", 0.5)[0] == 0
    assert "not ***" in (tmp_path / "work" / "failures.jsonl").read_text()


def test_a_dry_run_writes_and_sends_nothing(command: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    with ChatServer() as server:
        status, output = command(server, "--dry-run", "--input-price", 1000, "--output-price", 1000, "--budget", 40)
    assert status == 0
    assert "24 of 24 images are left: 24 requests" in output
    assert re.search(
        r"Cost: about \d+\.\d\d, with the longest replies \d+\.\d\d; spent before 0\.00, budget 40\.00\.", output
    )
    assert server.asked == []
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("reply", "arguments", "status", "sentence"),
    [
        (failed(401, f"bad key {KEY}"), (), 1, "refuses the key in the environment variable OPENAI_API_KEY (HTTP 401)"),
        (failed(404, f"bad key {KEY}"), (), 1, "knows no model 'eye'"),
        (annotated(), ("--budget", 1), 2, "--budget needs --input-price"),
        (annotated(), ("--language", "xx"), 2, "--language 'xx' is unknown"),
        (annotated(), ("--prompts", "nowhere"), 2, "The prompt nowhere/annotate.md can't be read"),
    ],
)
def test_an_error_is_one_sentence(
    command: Callable[..., tuple[int, str]], reply: Reply, arguments: tuple[Any, ...], status: int, sentence: str
) -> None:
    with ChatServer(lambda request: reply) as server:
        found, output = command(server, *arguments)
    assert found == status
    assert sentence in output.splitlines()[-1]
    assert "Traceback" not in output


def start(data: Path, work: Path, server: ChatServer, *arguments: object) -> subprocess.Popen[str]:
    given = (data, work, "--address", server.address, "--model", "eye", "--concurrency", 4, *arguments)
    return subprocess.Popen(
        [sys.executable, "-m", "neuraltuning", "mmud", "annotate", *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_run_loses_no_answer_and_pays_for_none_twice(data: Path, tmp_path: Path) -> None:
    journal = tmp_path / "work" / "annotations.jsonl"
    with ChatServer(lambda request: annotated(wait=0.05)) as server:
        process = start(data, tmp_path / "work", server)
        wait_for(lambda: journal.is_file() and journal.read_bytes().count(b"\n") >= 6)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        journalled = journal.read_bytes().count(b"\n")
        # all that was answered but for what was under way
        assert len(server.answered) - 4 <= journalled < 24
        asked_before = len(server.asked)
        journal.write_bytes(journal.read_bytes() + b'{"id": "train/scenes-train-0000')  # killed while it wrote
        process = start(data, tmp_path / "work", server)
        output, _ = process.communicate()
        assert process.returncode == 0, output
    assert len(server.asked) == asked_before + 24 - journalled
    workspace = Workspace(tmp_path / "work")
    assert sorted(record.id for record in workspace.annotations) == sorted(workspace.ids())


def test_ctrl_c_waits_for_what_is_on_its_way(data: Path, tmp_path: Path) -> None:
    with ChatServer(lambda request: annotated(wait=0.01 if request.number < 4 else 2.0)) as server:
        process = start(data, tmp_path / "work", server)
        wait_for(lambda: len(server.asked) == 8)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "Waiting for what is on its way" in output
    assert output.endswith("Interrupted. What was answered is kept: run the same command again for the rest.\n")
    assert len(server.asked) == 8
    assert len(list(Workspace(tmp_path / "work").annotations)) == 8


def test_a_second_ctrl_c_drops_what_is_on_its_way(data: Path, tmp_path: Path) -> None:
    with ChatServer(lambda request: annotated(wait=20)) as server:
        process = start(data, tmp_path / "work", server)
        wait_for(lambda: len(server.asked) == 4)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        while "Waiting for what is on its way" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=15)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert json.loads((tmp_path / "work" / "workspace.json").read_text())["data"] == str(data)
