"""`neuraltuning mmud review` and its kin, from the command line."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from neuraltuning.cli import main
from neuraltuning.errors import InputError
from neuraltuning.mmud.review.queue import ReviewQueue
from neuraltuning.mmud.review.server import serve
from neuraltuning.mmud.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `neuraltuning mmud`: arguments -> (exit status, standard output, standard error)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neuraltuning", "mmud", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return call


def test_the_page_is_served_until_ctrl_c(workspace: Workspace) -> None:
    command = [sys.executable, "-m", "neuraltuning", "mmud", "review", str(workspace.folder), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--reviewer", "ada"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C is ignored where the tests run in the background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("7 items to review at http://127.0.0.1:")
        address = line.split()[5]
        assert httpx.get(f"{address}api/session").json() == {"reviewer": "ada", "folder": "work"}
        decided = {"reviewer": "ada", "decision": "accept", "answer": "The magnet <OBJ-1>."}
        assert httpx.post(f"{address}api/items/0/decision", json=decided).status_code == 200
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "Interrupted. Every decision is kept: run the same command again to go on.\n"
    assert [review.answer for review in workspace.reviews] == ["The magnet <OBJ-1>."]


def test_a_page_that_can_not_be_served_is_said(
    run: Run, workspace: Workspace, queue: ReviewQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = run("review", workspace.folder, "--port", port)
    assert status == 2
    assert err == f"Port {port} can't be used (Address already in use); choose another one with --port.\n"
    assert run("review", workspace.folder, "--reviewer", "a\tb")[0] == 2
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(
        InputError, match=r"needs the package uvicorn; install it with: pip install 'neuraltuning\[mmud"
    ):
        serve(queue, 0, "", print)


def test_a_folder_without_tags_is_said(run: Run, workspace: Workspace, tmp_path: Path) -> None:
    workspace.taggings.path.unlink()
    for command in (["review"], ["review-agreement"], ["review-export", tmp_path / "t.json"]):
        status, _, err = run(command[0], workspace.folder, *command[1:])
        assert status == 2
        assert "has nothing to review; tag first" in err


def test_tasks_go_out_and_come_back(run: Run, workspace: Workspace, tmp_path: Path) -> None:
    tasks, export = tmp_path / "tasks.json", tmp_path / "annotations.json"
    status, out, _ = run("review-export", workspace.folder, tasks)
    assert (status, out) == (0, f"7 tasks: {tasks}\nlabelling configuration: {tmp_path / 'tasks.xml'}\n")

    exported = json.loads(tasks.read_text(encoding="utf-8"))
    for task in exported:
        decision = {"from_name": "decision", "value": {"choices": ["accept"]}}
        result = [*task.pop("predictions")[0]["result"], decision]
        task["annotations"] = [{"result": result, "completed_by": 2, "updated_at": "2026-11-25T13:28:46Z"}]
    export.write_text(json.dumps(exported), encoding="utf-8")
    status, out, err = run("review-import", workspace.folder, export)
    assert (status, err) == (0, "")
    assert out.startswith("7 reviews imported, 0 were known;")

    exported[0]["data"]["item"] = "train/other"
    exported[1]["annotations"][0]["result"] = []
    exported[2]["annotations"][0]["result"] = exported[2]["annotations"][0]["result"][1:]
    export.write_text(json.dumps(exported), encoding="utf-8")
    status, out, err = run("review-import", workspace.folder, export)
    assert status == 1
    assert out.startswith("0 reviews imported, 5 were known;")
    lines = err.splitlines()
    assert lines[0] == "1 have masks drawn or deleted; masks are not imported."
    assert "no such item to review" in lines[1]
    assert "it has no decision" in lines[2]
    assert lines[3].startswith("2 could not be imported, listed above;")


def test_agreement_is_printed(run: Run, workspace: Workspace, queue: ReviewQueue) -> None:
    assert "No item was reviewed by two people yet." in run("review-agreement", workspace.folder)[1]
    for name, decisions in {"ada": "aar", "bob": "aaa", "cyd[b]": "ara"}.items():
        for item, decision in zip(queue.items, decisions, strict=False):
            answer = queue.tagging(item).answer
            queue.decide(item, name, "accept" if decision == "a" else "reject", answer, "No.")
    status, out, _ = run("review-agreement", workspace.folder)
    assert status == 0
    assert "ada: 2 accepted, 1 rejected\n" in out
    assert "cyd[b]: 2 accepted, 1 rejected\n" in out
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in rows["ada and bob"].split("│")[2:-1]] == ["3", "67%", "0.00", "2", "100%"]
    assert [cell.strip() for cell in rows["ada and cyd[b]"].split("│")[2:-1]] == ["3", "33%", "-0.50", "1", "100%"]
    assert "all" in rows
