"""Data sets at addresses: what is read is what was written, by range, and what can't be reached is a sentence."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from torch.utils.data import DataLoader, Dataset

from neuraltuning.data import location, store
from neuraltuning.data.check import check
from neuraltuning.data.convert import convert
from neuraltuning.data.location import Location, RemoteFile
from neuraltuning.data.sample import Sample
from neuraltuning.data.shards import MANIFEST
from neuraltuning.data.source import open_split
from neuraltuning.data.store import StoredSamples, split_names
from neuraltuning.errors import InputError, RunError
from tests.data.sources.published import picture

SIZES = {"train": 70, "validation": 5}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "WAITS", (0.0, 0.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted data set of several shards."""
    place = tmp_path_factory.mktemp("data")
    for number in range(SIZES["train"]):
        picture(place / "images" / f"{number}.png", number)
    for split, size in SIZES.items():
        lines = [json.dumps({"image": f"{n}.png", "captions": [f"{split} {n}"]}) for n in range(size)]
        (place / f"{split}.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "SHARD_SAMPLES", 32)
        convert("jsonl", place, place / "images", place / "out")
    return place / "out"


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    """The data set in fsspec's memory."""
    files = fsspec.filesystem("memory")
    files.put(str(folder), "/bucket/set", recursive=True)
    yield "memory://bucket/set"
    files.rm("/bucket", recursive=True)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder by range; `asked` counts the bytes of each answer by path."""

    asked: list[tuple[str, int]]
    ranges = True

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if self.ranges else None
        start, end = (int(found[1]), min(int(found[2]), len(data) - 1)) if found else (0, len(data) - 1)
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.send_header("Content-Length", str(end + 1 - start))
        self.end_headers()
        self.asked.append((self.path, end + 1 - start))
        self.wfile.write(data[start : end + 1])

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(folder: Path) -> Iterator[tuple[str, type[Handler]]]:
    """The address of a local server of the data set, and its handler."""

    class Own(Handler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

    Own.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", Own
        served.shutdown()


def facts(samples: Any) -> list[tuple[str, tuple[str, ...], bytes]]:
    return [(s.id, s.captions, s.image.tobytes()) for s in samples]


def test_what_lies_at_an_address_is_what_was_written(folder: Path, memory: str) -> None:
    for split in SIZES:
        assert facts(open_split(memory, split, 0)) == facts(open_split(str(folder), split, 0))
    samples = open_split(memory, "train", 0, 40)
    assert isinstance(samples, StoredSamples)
    assert len(samples.shards.names) == 3
    assert samples[-1].captions == ("train 39",)
    assert facts(pickle.loads(pickle.dumps(samples))) == facts(samples)
    assert [row["captions"] for row in samples.texts()] == [[f"train {n}"] for n in range(40)]
    assert split_names(memory) == ["train", "validation"]
    assert check(memory).samples == SIZES


def test_a_store_without_a_manifest_is_listed(folder: Path, memory: str) -> None:
    fsspec.filesystem("memory").rm(f"/bucket/set/{MANIFEST}")
    assert facts(open_split(memory, "train", 0)) == facts(open_split(str(folder), "train", 0))


def test_over_http_only_what_is_asked_for_travels(folder: Path, server: tuple[str, type[Handler]]) -> None:
    address, handler = server
    samples = open_split(address, "train", 0)
    assert len(samples) == SIZES["train"]
    assert [path for path, _ in handler.asked] == [f"/{MANIFEST}"]
    handler.asked.clear()
    here = open_split(str(folder), "train", 0)
    assert facts([samples[40], samples[33]]) == facts([here[40], here[33]])
    assert {path for path, _ in handler.asked} == {"/train/part-00001.parquet"}
    shard = (folder / "train" / "part-00001.parquet").stat().st_size
    group = max(size for _, size in handler.asked)
    assert 0.4 * shard < group < 0.6 * shard  # one of its two groups, besides the footer
    assert facts(samples) == facts(here)


class Places(Dataset[str]):
    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> str:
        sample: Sample = self.samples[index]
        return sample.id


def test_workers_make_their_own_connections(folder: Path, server: tuple[str, type[Handler]]) -> None:
    samples = open_split(server[0], "train", 0)
    assert samples[0].id  # connected before the workers are forked
    loader = DataLoader(Places(samples), batch_size=5, num_workers=2, timeout=60)
    assert [name for batch in loader for name in batch] == [s.id for s in open_split(str(folder), "train", 0)]


def test_a_server_without_ranges_is_refused(server: tuple[str, type[Handler]]) -> None:
    address, handler = server
    handler.ranges = False
    with pytest.raises(InputError, match=r"part-00000\.parquet can't be read by range") as caught:
        open_split(address, "train", 0)[0]
    assert "\n" not in str(caught.value)


def test_a_range_is_asked_for_again_before_a_run_ends() -> None:
    answers: list[bytes | Exception] = [OSError("reset"), b"abc", *[ValueError("gone\nfor good")] * 3]

    def fetch(start: int, end: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    file = RemoteFile("s3://bucket/part", 6, fetch)
    assert file.read(3) == b"abc"
    with pytest.raises(RunError, match=r"s3://bucket/part can't be read any more \(ValueError: gone\); run again"):
        file.read(3)
    assert (file.tell(), file.seek(0, 2), file.read()) == (3, 6, b"")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("memory://nowhere", r"no split 'train' at memory://nowhere: it holds no dataset\.json"),
        ("http://127.0.0.1:9/set", r"http://127\.0\.0\.1:9/set/dataset\.json can't be read \(.*; check the address"),
        ("nothing://set", r"nothing://set.* can't be read \(ValueError: Protocol not known"),
    ],
)
def test_what_can_not_be_reached_is_a_sentence(address: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        open_split(address, "train", 0)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", without)
    with pytest.raises(
        InputError, match=r"s3://b/set/dataset.json needs a package \(ImportError: Install s3fs.*remote"
    ):
        open_split("s3://b/set", "train", 0)


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ("{", r"set/dataset\.json, the whole of it: invalid json"),
        ('{"splits": {"train": {"shards": {"a.parquet": -1}}}}', r"splits\.train\.shards\.a\.parquet: input should be"),
        ('{"splits": {"train": {"shards": {"../../secret": 3}}}}', r"names '../../secret', which is no file"),
        ('{"splits": {"..": {}}}', r"names '\.\.', which is no file"),
        ('{"splits": {"validation": {}}}', r"no split 'train' at memory://bucket/set: its splits are validation"),
        ('{"splits": {"train": {"shards": {}}}}', r"train holds no part-\*\.parquet"),
    ],
)
def test_a_manifest_from_outside_is_not_trusted(memory: str, manifest: str, sentence: str) -> None:
    fsspec.filesystem("memory").pipe(f"/bucket/set/{MANIFEST}", manifest.encode())
    with pytest.raises(InputError, match=sentence):
        open_split(memory, "train", 0)


def test_a_manifest_that_is_not_of_the_shards_is_noticed(memory: str, folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["splits"]["train"]["shards"]["part-00000.parquet"] = 31
    fsspec.filesystem("memory").pipe(f"/bucket/set/{MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(InputError, match=r"part-00000\.parquet holds 32 samples, but dataset\.json .* says 31"):
        open_split(memory, "train", 0)[0]


def test_a_damaged_shard_is_named(memory: str) -> None:
    files = fsspec.filesystem("memory")
    data = files.cat("/bucket/set/train/part-00001.parquet")
    files.pipe("/bucket/set/train/part-00001.parquet", data[: len(data) // 2])
    samples = open_split(memory, "train", 0)
    assert samples[0].captions == ("train 0",)
    with pytest.raises(InputError, match=r"train/part-00001\.parquet is no complete Parquet file"):
        samples[32]


def test_a_location_is_a_folder_or_an_address(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("here")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    here = Location(tmp_path)
    assert not here.remote
    assert here.glob("*/x.txt") == ["a/x.txt", "b/x.txt"]
    assert (here / "a" / "x.txt").read() == b"here"
    assert (here / "a" / "y.txt").read() is None
    assert str(Location("s3://bucket/set/") / "train") == "s3://bucket/set/train"
