from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from neuraltuning import InputError, Query, Reply, RunError
from neuraltuning.model import MultitaskModel
from neuraltuning.prediction import Answer, answer_request, answer_requests
from neuraltuning.prediction_answers import model_stamp
from neuraltuning.prediction_requests import MAX_TEXT, Request, RequestsFile, folder_requests, make_request
from neuraltuning.serving.engine_types import ChatQuery, Failed, Finished, OnEvent
from tests.tiny_models import lively, model_settings, sample


class FakeModel:
    """Masks the left half as often as the text has words, or draws where it says so."""

    def reply_batch(self, queries: list[Query]) -> list[Reply]:
        return [self._reply(query) for query in queries]

    def _reply(self, query: Query) -> Reply:
        if query.image is None:
            return Reply("Here: <GEN>", images=(Image.new("RGB", (8, 8), (query.seed, 0, 0)),))
        masks = np.zeros((len(query.text.split()), query.image.height, query.image.width), dtype=bool)
        masks[:, :, : query.image.width // 2] = True
        return Reply("It is <OBJ>.", masks=masks, scores=np.full(len(masks), 0.75, dtype=np.float32))


class FakeTicket:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeEngine:
    """Answers as `FakeModel`, in a thread of its own; counts what it is asked.

    Attributes:
        asked: the texts.
        most: requests that were under way at once at most.
        hold: texts that are not answered before `go` is set.
    """

    def __init__(self, hold: tuple[str, ...] = ()) -> None:
        self.asked: list[str] = []
        self.tickets: list[FakeTicket] = []
        self.under_way = self.most = 0
        self.hold, self.go = hold, threading.Event()
        self._lock = threading.Lock()

    def submit(self, query: ChatQuery, on_event: OnEvent) -> FakeTicket:
        if "endless" in query.text:
            raise InputError("The text is longer than the model's context.")
        with self._lock:
            self.asked.append(query.text)
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.tickets.append(FakeTicket())
        threading.Thread(target=self._answer, args=(query, on_event, self.tickets[-1]), daemon=True).start()
        return self.tickets[-1]

    def _answer(self, query: ChatQuery, on_event: OnEvent, ticket: FakeTicket) -> None:
        if query.text in self.hold:
            self.go.wait(10.0)
        with self._lock:
            self.under_way -= 1
        if ticket.cancelled:
            return
        if "objectless" in query.text:
            on_event(Failed(InputError("The reply names an object to segment, but no image was given.")))
        elif "broken" in query.text:
            on_event(Failed(MemoryError("all is full")))
        else:
            [reply] = FakeModel().reply_batch([Query(query.image, query.text, query.seed, query.max_new_tokens)])
            on_event(Finished(reply, "stop", 1, 0, 1))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.new("RGB", (6, 4), "green").save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def record(folder: Path) -> Any:
    return json.loads((folder / "reply.json").read_text())


def write_lines(path: Path, *lines: Any) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_answer_holds_masks_in_coco_terms(tmp_path: Path, picture: Path) -> None:
    request = make_request({"text": "left side", "image": str(picture)}, "--text")
    reply = answer_request(FakeModel(), request, tmp_path / "out", stamp="model 1")
    assert reply.text == "It is <OBJ>."
    assert names(tmp_path / "out") == ["mask-1.png", "mask-2.png", "overlay.png", "reply.json"]
    answer = record(tmp_path / "out")
    assert answer["text"] == "It is <OBJ>."
    assert answer["request"]["text"] == "left side"
    assert answer["images"] == []
    first = answer["objects"][0]
    assert (first["mask"], first["bbox"], first["area"], first["score"]) == ("mask-1.png", [0, 0, 3, 4], 12, 0.75)
    decoded = coco.decode(first["segmentation"]).astype(bool)
    written = np.asarray(Image.open(tmp_path / "out" / "mask-1.png").convert("L")) > 0
    np.testing.assert_array_equal(decoded, reply.masks[0])
    np.testing.assert_array_equal(written, reply.masks[0])
    assert Image.open(tmp_path / "out" / "overlay.png").size == (6, 4)


def test_drawing_is_written_and_follows_its_seed(tmp_path: Path) -> None:
    for seed in (3, 9):
        answer_request(FakeModel(), make_request({"text": "Draw a cat.", "seed": seed}, ""), tmp_path)
        assert names(tmp_path) == ["image-1.png", "reply.json"]
        assert Image.open(tmp_path / "image-1.png").getpixel((0, 0)) == (seed, 0, 0)
    assert record(tmp_path)["images"] == ["image-1.png"]


def test_new_answer_replaces_the_old_one_and_nothing_else(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "mask-notes.txt").touch()
    for text in ("one two three", "one"):
        answer_request(FakeModel(), Request(text=text, image=str(picture)), tmp_path)
    assert names(tmp_path) == ["cat.png", "mask-1.png", "mask-notes.txt", "overlay.png", "reply.json"]


def test_requests_are_answered_and_told_of_in_order(tmp_path: Path, picture: Path) -> None:
    engine = FakeEngine(hold=("text 0",))
    threading.Timer(0.1, engine.go.set).start()
    requests = [Request(id=f"r{number}", text=f"text {number}", image=str(picture)) for number in range(5)]
    answers = list(answer_requests(engine, requests, tmp_path / "out"))
    assert [answer.request.id for answer in answers] == ["r0", "r1", "r2", "r3", "r4"]
    assert names(tmp_path / "out") == ["r0", "r1", "r2", "r3", "r4"]
    assert record(tmp_path / "out" / "r3")["request"]["text"] == "text 3"
    assert sorted(engine.asked) == [f"text {number}" for number in range(5)]


def test_answered_requests_are_not_asked_again(tmp_path: Path, picture: Path) -> None:
    requests = [Request(id=name, text=name, image=str(picture)) for name in "abc"]
    assert len(list(answer_requests(FakeEngine(), requests[:2], tmp_path, stamp="m"))) == 2
    (tmp_path / "b" / "reply.json").unlink()  # as if interrupted before it was finished
    engine = FakeEngine()
    answers = list(answer_requests(engine, requests, tmp_path, stamp="m"))
    assert sorted(engine.asked) == ["b", "c"]
    assert [(answer.request.id, answer.reply is None) for answer in answers] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]


def test_an_answer_is_on_disk_before_it_is_told_of(tmp_path: Path, picture: Path) -> None:
    requests = [Request(id=name, text=name, image=str(picture)) for name in "abc"]
    engine = FakeEngine(hold=("b", "c"))
    answers = answer_requests(engine, requests, tmp_path / "out", ahead=2)
    next(answers)
    assert names(tmp_path / "out") == ["a"]
    assert record(tmp_path / "out" / "a")
    answers.close()  # type: ignore[attr-defined]
    engine.go.set()
    assert [ticket.cancelled for ticket in engine.tickets] == [False, True]
    assert names(tmp_path / "out") == ["a"]


def test_requests_are_read_only_shortly_before_their_turn(tmp_path: Path, picture: Path) -> None:
    read = 0

    def endless() -> Iterator[Request]:
        nonlocal read
        while True:
            read += 1
            yield Request(id=f"r{read}", text=f"text {read}", image=str(picture))

    engine = FakeEngine()
    answers = answer_requests(engine, endless(), tmp_path / "out", ahead=4)
    for number in range(1, 21):
        assert next(answers).request.id == f"r{number}"
        assert number <= read <= number + 4
    assert engine.most <= 4


def test_large_pictures_are_not_opened_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuraltuning.prediction.MAX_PIXELS", 100)
    requests = []
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        requests.append(Request(id=f"r{number}", text=f"text {number}", image=str(tmp_path / f"{number}.png")))
    engine = FakeEngine()
    assert len(list(answer_requests(engine, requests, tmp_path / "out"))) == 6
    assert engine.most <= 2


def test_changed_request_or_model_is_asked_again(tmp_path: Path, picture: Path) -> None:
    def asked(request: Request, stamp: str) -> bool:
        engine = FakeEngine()
        list(answer_requests(engine, [request], tmp_path, stamp=stamp))
        return bool(engine.asked)

    request = Request(id="a", text="cat", image=str(picture))
    assert [asked(request, "m1"), asked(request, "m1"), asked(request, "m2")] == [True, False, True]
    assert asked(request.model_copy(update={"text": "dog"}), "m2")
    assert asked(request.model_copy(update={"seed": 1}), "m2")


def test_stamp_changes_with_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    first = model_stamp(tmp_path)
    (tmp_path / "report.html").touch()
    assert model_stamp(tmp_path) == first
    weights.write_bytes(b"another")
    assert model_stamp(tmp_path) != first


def test_unusable_requests_do_not_stop_the_others(tmp_path: Path, picture: Path) -> None:
    requests = [
        Request(id="a", text="a", image=str(picture)),
        Request(id="b", text="b", image=str(tmp_path / "none.png")),
        Request(id="c", text="endless", image=str(picture)),
        Request(id="d", text="d", image=str(picture)),
        Request(id="e", text="objectless", image=str(picture)),
    ]
    answers = list(answer_requests(FakeEngine(), requests, tmp_path / "out"))
    errors = {answer.request.id: str(answer.error) for answer in answers if answer.error}
    assert list(errors) == ["b", "c", "e"]
    assert errors["b"] == f"There is no image {tmp_path / 'none.png'}."
    assert errors["c"] == "The text is longer than the model's context."
    assert names(tmp_path / "out") == ["a", "d"]


def test_single_unusable_request_raises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no image"):
        answer_request(FakeModel(), Request(text="a", image=str(tmp_path / "none.png")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_fault_of_the_request_ends_the_run(tmp_path: Path, picture: Path) -> None:
    requests = [Request(id=name, text=text, image=str(picture)) for name, text in (("a", "a"), ("b", "broken"))]
    with pytest.raises(MemoryError):
        list(answer_requests(FakeEngine(), requests, tmp_path / "out"))
    assert record(tmp_path / "out" / "a")


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path: Path, picture: Path) -> None:
    half = tmp_path / "out" / ".writing.abc"
    half.mkdir(parents=True)
    (half / "mask-1.png").touch()
    answer_request(FakeModel(), Request(text="one", image=str(picture)), tmp_path / "out")
    assert not half.exists()


def test_unwritable_output_is_a_run_error(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Could not write"):
        list(answer_requests(FakeEngine(), [Request(id="a", text="a", image=str(picture))], tmp_path / "file" / "out"))
    with pytest.raises(RunError, match="Could not write"):
        answer_request(FakeModel(), Request(text="a", image=str(picture)), tmp_path / "file" / "out")


def test_requests_file(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "requests.jsonl",
        {"id": "first", "image": "pictures/a.png", "text": "Please segment the cat."},
        "",
        {"text": "Draw a cat.", "seed": 5, "max_new_tokens": 9},
        {"text": "What is it?", "image": "/absolute/b.png"},
    )
    requests = RequestsFile(path)
    assert len(requests) == 3
    assert list(requests) == [
        Request(id="first", image=str(tmp_path / "pictures/a.png"), text="Please segment the cat."),
        Request(id="line-000003", text="Draw a cat.", seed=5, max_new_tokens=9),
        Request(id="line-000004", text="What is it?", image="/absolute/b.png"),
    ]


def test_only_line_feeds_end_a_request(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_bytes('\ufeff{"text": "one\u2028two"}\r\n{"text": "three"}\r\n'.encode())
    assert [request.text for request in RequestsFile(tmp_path / "requests.jsonl")] == ["one\u2028two", "three"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "no JSON (Expecting property name enclosed in double quotes, column 2)"),
        ("[" * 100_000, "no JSON|nested too deeply"),
        ("[1]", "not an object"),
        ({"image": "a.png"}, "the key text is missing"),
        ({"txt": "a"}, "there is no key txt; did you mean text?"),
        ({"text": 3}, "text is 3, but must be text"),
        ({"text": "  "}, "the text is empty"),
        ({"text": "a" * (MAX_TEXT + 1)}, "the text has 100,001 characters; at most 100,000 are taken"),
        ({"text": "a", "seed": -1}, "seed is -1, but must be greater than or equal to 0"),
        ({"text": "a", "seed": 2**70}, "seed is 1180591620717411303424, but must be less than"),
        ({"text": "a", "seed": 1.5}, "seed is 1.5, but must be a whole number"),
        ({"text": "a", "max_new_tokens": 0}, "max_new_tokens is 0, but must be greater than or equal to 1"),
        ({"text": "a", "id": "../outside"}, "the id '../outside' can't name a folder"),
        ({"text": "a", "id": "first"}, "the id 'first' is that of line 1 too"),
    ],
)
def test_bad_line_is_named_by_file_and_line(tmp_path: Path, line: Any, said: str) -> None:
    path = write_lines(tmp_path / "requests.jsonl", {"id": "first", "text": "a"}, line)
    with pytest.raises(InputError) as caught:
        RequestsFile(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ")
    assert any(part in message for part in said.split("|"))
    assert len(message) < 400


def test_unusable_requests_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no requests file"):
        RequestsFile(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no request"):
        RequestsFile(write_lines(tmp_path / "empty.jsonl", "", " "))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        RequestsFile(tmp_path / "binary.jsonl")


def test_folder_of_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    assert folder_requests(tmp_path, "What is it?", seed=2) == [
        Request(id="a.JPG", text="What is it?", image=str(tmp_path / "a.JPG"), seed=2),
        Request(id="b.png", text="What is it?", image=str(tmp_path / "b.png"), seed=2),
    ]


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder of images"):
        folder_requests(tmp_path / "none", "a")
    with pytest.raises(InputError, match="holds no image"):
        folder_requests(tmp_path, "a")
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match="the text is empty"):
        folder_requests(tmp_path, "")


def test_answer_knows_where_it_is(tmp_path: Path, picture: Path) -> None:
    [answer] = answer_requests(FakeEngine(), [Request(id="a", text="a", image=str(picture))], tmp_path)
    assert isinstance(answer, Answer)
    assert answer.folder == tmp_path / "a"


def test_a_long_file_is_checked_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    with path.open("w") as file:
        for number in range(20_000):
            file.write(json.dumps({"id": f"request-{number}", "text": "What is it?" + " " * 200}) + "\n")
    tracemalloc.start()
    requests = RequestsFile(path)
    assert sum(1 for _ in requests) == len(requests) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 3


def test_nothing_finished_is_lost_or_asked_again_when_the_run_is_killed(tmp_path: Path) -> None:
    model = lively(MultitaskModel.build(model_settings(tmp_path / "parts"))).save_pretrained(tmp_path / "tuned")
    sample().image.save(tmp_path / "squares.png")
    lines = [
        {"id": f"r{n}", "text": f"Find {n} squares.", "image": "squares.png", "max_new_tokens": 40} for n in range(60)
    ]
    requests = write_lines(tmp_path / "requests.jsonl", *lines)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "neuraltuning",
        "predict",
        str(model),
        "--requests",
        str(requests),
        "--out",
        str(out),
    ]

    def answered() -> dict[str, float]:
        return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/reply.json")}

    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(answered()) < 5:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    before = answered()
    assert 5 <= len(before) < 60
    for name in before:
        assert record(out / name)["text"] is not None
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == f"Answered 60 of 60 requests ({len(before)} of them before): {out}/*/reply.json\n"
    after = answered()
    assert after.keys() == {line["id"] for line in lines}
    assert {name: after[name] for name in before} == before
    assert not list(out.glob("*/.writing.*"))
    for name in ("r0", "r59"):
        assert len(record(out / name)["objects"]) == record(out / name)["text"].count("<OBJ>")


def test_an_id_that_stands_twice_far_apart_is_found(tmp_path: Path) -> None:
    lines = [{"id": f"r{number}", "text": "a"} for number in range(300)]
    path = write_lines(tmp_path / "requests.jsonl", *lines, {"text": "b"}, {"id": "line-000301", "text": "c"})
    with pytest.raises(InputError, match=r"line 302: the id 'line-000301' is that of line 301 too; ids are unique\."):
        RequestsFile(path)


def test_ids_are_told_apart_whatever_their_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lines(tmp_path / "requests.jsonl", *({"id": name, "text": "a"} for name in "abc"))
    monkeypatch.setattr("neuraltuning.prediction_requests._mark", lambda identity: 7)
    assert [request.id for request in RequestsFile(path)] == ["a", "b", "c"]


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text('{"text": "' + "a" * 600_000 + '"}')
    with pytest.raises(InputError, match="line 1: longer than 500,000 characters"):
        RequestsFile(path)
