"""ZIPs in the place of folders: read, unless they would leave the folder or fill the disk."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from neuraltuning.data import archives as archives_module
from neuraltuning.data.archives import Archives
from neuraltuning.data.convert import convert
from neuraltuning.data.source import open_split
from neuraltuning.errors import InputError, RunError
from tests.data.sources.published import refer


def write_zip(path: Path, **contents: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in contents.items():
            file.writestr(name, text)
    return path


@pytest.fixture
def near(tmp_path: Path) -> Path:
    return tmp_path / "near"


def test_a_zip_counts_as_a_folder_and_goes_at_the_end(tmp_path: Path, near: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", **{"b/c.txt": "c", "d.txt": "d", "__MACOSX/._d.txt": "junk"})
    with Archives(near) as archives:
        whole, inside = archives.folder(archive), archives.folder(archive / "b")
        assert sorted(path.name for path in whole.iterdir()) == ["b", "d.txt"]
        assert (inside / "c.txt").read_text() == "c"
        assert archives.folder(tmp_path) == tmp_path
        assert archives.named(f"no {whole}/e.txt") == f"no {archive}/e.txt"
        assert whole.parent == near.resolve()
    assert not list(near.iterdir())


def test_a_data_set_in_zips_is_converted(tmp_path: Path) -> None:
    refer(tmp_path / "in" / "refcoco", tmp_path / "in" / "train2014")
    plain = convert("refcoco", tmp_path / "in" / "refcoco", tmp_path / "in" / "train2014", tmp_path / "plain")
    for name in ("refcoco", "train2014"):
        shutil.make_archive(str(tmp_path / name), "zip", tmp_path / "in", name)
    shutil.rmtree(tmp_path / "in")
    files, images = tmp_path / "refcoco.zip", tmp_path / "train2014.zip"
    assert convert("refcoco", files / "refcoco", images / "train2014", tmp_path / "out") == plain
    assert len(open_split(str(tmp_path / "out"), "train", 0)) == 2
    with pytest.raises(InputError, match=r"no .*/refcoco\.zip/refs\(unc\)\.p; .* named by .*/refcoco\.zip/refcoco\.$"):
        convert("refcoco", files, images / "train2014", tmp_path / "out")
    with pytest.raises(InputError, match=r"/train2014\.zip/COCO_\S+ can't be read: .* named by .*\.zip/train2014\.$"):
        convert("refcoco", files / "refcoco", images, tmp_path / "out")
    with pytest.raises(InputError, match=r"There is no folder .*/refcoco\.zip/refcoco\+; .*refcoco\.zip holds refcoco"):
        convert("refcoco", files / "refcoco+", images, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plain", "refcoco.zip", "train2014.zip"]


def test_reasons_name_the_zip(tmp_path: Path) -> None:
    refer(tmp_path / "refcoco", tmp_path / "train2014")
    (tmp_path / "train2014" / "COCO_train2014_000000000012.jpg").unlink()
    archive = Path(shutil.make_archive(str(tmp_path / "train2014"), "zip", tmp_path / "train2014"))
    manifest = convert("refcoco", tmp_path / "refcoco", archive, tmp_path / "out", max_left_out=0.5)
    (left_out,) = manifest["splits"]["train"]["left_out"]
    assert left_out["reason"].startswith(f"its image {archive}/COCO_train2014_000000000012.jpg can't be read")


@pytest.mark.parametrize("name", ["../a.txt", "b/../../a.txt", "/etc/a.txt", "..\\a.txt", "C:\\a.txt"])
def test_an_entry_that_leaves_the_folder_is_refused(tmp_path: Path, near: Path, name: str) -> None:
    archive = write_zip(tmp_path / "a.zip", **{"good.txt": "", name: "bad"})
    with Archives(near) as archives, pytest.raises(InputError, match=r"entry .* would leave the folder"):
        archives.folder(archive)
    assert not near.exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, near: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(entry, "/etc/passwd")
    with Archives(near) as archives, pytest.raises(InputError, match="entry 'link' is a link or a device"):
        archives.folder(tmp_path / "a.zip")
    assert not near.exists()


def test_bombs_are_refused_before_they_go_off(tmp_path: Path, near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "a.zip", zeros="0" * 2_000_000)
    with Archives(near) as archives:
        assert archives.folder(archive)  # small ones may
    monkeypatch.setattr(archives_module, "SMALL", 1_000_000)
    with Archives(near) as archives, pytest.raises(InputError, match=r"would become .* GiB, \d{3} times its own size"):
        archives.folder(archive)
    monkeypatch.setattr(archives_module, "MAX_RATIO", 10_000)
    with Archives(near) as archives:
        assert archives.folder(archive)
    monkeypatch.setattr(archives_module, "MAX_BYTES", 1_000_000)
    with Archives(near) as archives, pytest.raises(InputError, match="is not unpacked: it would become"):
        archives.folder(archive)
    assert not list(near.iterdir())


def test_an_entry_that_is_larger_than_it_says_is_cut_short(tmp_path: Path, near: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", zeros="0" * 2_000_000)
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 2_000_000), struct.pack("<I", 10)))
    with Archives(near) as archives, pytest.raises(InputError, match="is no complete ZIP"):
        archives.folder(archive)
    assert not list(near.iterdir())


def test_a_disk_without_room(tmp_path: Path, near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_zip(tmp_path / "a.zip", **{"a.txt": "a" * 100})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 10))
    with Archives(near) as archives, pytest.raises(RunError, match=r"a\.zip unpacks to .*, but .* has only"):
        archives.folder(archive)


def damaged(data: bytes) -> bytes:
    middle = data.index(b"a.txt") + 8
    return data[:middle] + bytes(b ^ 255 for b in data[middle : middle + 4]) + data[middle + 4 :]


def locked(data: bytes) -> bytes:
    place = data.index(b"PK\x01\x02") + 8
    return data[:place] + b"\x01" + data[place + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-30], "is no complete ZIP"),
        (lambda data: b"", "is no complete ZIP"),
        (damaged, "is no complete ZIP"),
        (locked, "is locked with a password"),
    ],
)
def test_damaged_and_locked_zips(tmp_path: Path, near: Path, change: Callable[[bytes], bytes], message: str) -> None:
    archive = write_zip(tmp_path / "a.zip", **{"a.txt": "abc" * 50})
    archive.write_bytes(change(archive.read_bytes()))
    with Archives(near) as archives, pytest.raises(InputError, match=message):
        archives.folder(archive)
    assert not near.exists() or not list(near.iterdir())


def test_an_entry_that_stands_in_the_way(tmp_path: Path, near: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", **{"a": "a file", "a/b": "in it"})
    with Archives(near) as archives, pytest.raises(RunError, match=r"a\.zip can't be unpacked in"):
        archives.folder(archive)


def test_what_is_no_folder(tmp_path: Path, near: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"")
    archive = write_zip(tmp_path / "a.zip", **{"b/c.txt": "c"})
    with Archives(near) as archives:
        for path, message in (
            (tmp_path / "none.zip", "There is no folder .*none.zip"),
            (tmp_path / "a.tar", "is neither a folder nor a ZIP"),
            (archive / "c", "There is no folder .*; .* holds b"),
            (archive / ".." / "..", "There is no folder"),
        ):
            with pytest.raises(InputError, match=message):
                archives.folder(path)
