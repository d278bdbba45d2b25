"""Pickles from outside: plain ones are read, the others are refused and nothing of them runs."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuraltuning.data.unpickle import load_plain_pickle
from neuraltuning.errors import InputError

PLAIN: Any = [
    {"ref_id": 1, "sentences": [{"raw": "the dog", "tokens": ["the", "dog"]}], "box": (1.5, -2, 3e9)},
    {"nothing": None, "flags": [True, False], "bytes": b"\x00\xff", "long": 2**70, 3: {4, 5}, "kept": frozenset([6])},
    ("ä" * 300, bytearray(b"abc"), -1, 255, 65536, [], {}, ()),
]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back(tmp_path: Path, protocol: int) -> None:
    older = [PLAIN[0], ("ä" * 300, -1, 255, 65536, 2**70, [], {}, ())]  # the rest would be calls
    value = PLAIN if protocol >= 5 else older
    (tmp_path / "plain.p").write_bytes(pickle.dumps(value, protocol))
    assert load_plain_pickle(tmp_path / "plain.p") == value


def test_a_value_that_stands_twice_stays_one(tmp_path: Path) -> None:
    shared = ["a"]
    (tmp_path / "shared.p").write_bytes(pickle.dumps([shared, shared]))
    first, second = load_plain_pickle(tmp_path / "shared.p")
    assert first is second


# Python 2's pickle.dumps([{'sent': ..., 'tokens': ['caf...']}], 2) with byte strings
def python2(text: bytes) -> bytes:
    return b"\x80\x02]q\x00}q\x01U\x04sentq\x02U" + bytes([len(text)]) + text + b"q\x03sa."


def test_strings_of_python_2_are_text(tmp_path: Path) -> None:
    (tmp_path / "utf8.p").write_bytes(python2("café".encode()))
    assert load_plain_pickle(tmp_path / "utf8.p") == [{"sent": "café"}]
    (tmp_path / "latin1.p").write_bytes(python2("café".encode("latin-1")))
    assert load_plain_pickle(tmp_path / "latin1.p") == [{"sent": "café"}]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_call_is_refused_and_does_not_happen(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / "call.p"
    file.write_bytes(pickle.dumps([1, Touch(tmp_path / "ran")], protocol))
    with pytest.raises(InputError, match=r"call\.p is a pickle that does more than hold plain values"):
        load_plain_pickle(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "value",
    [collections.OrderedDict(a=1), datetime.date(2020, 1, 1), np.zeros(2), np.float64(1.0), os.system, InputError],
    ids=lambda value: type(value).__name__,
)
def test_objects_classes_and_functions_are_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "object.p").write_bytes(pickle.dumps([value]))
    with pytest.raises(InputError, match="more than hold plain values"):
        load_plain_pickle(tmp_path / "object.p")


HOSTILE = {
    "persistent id": b"Pabc\n.",
    "binary persistent id": b"\x80\x02U\x01aQ.",
    "extension": b"\x80\x02\x82\x01.",
    "instance": b"(ios\nsystem\n.",
    "build": b"}}b.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "memo of a gigabyte": b"Nr" + struct.pack("<I", 2**31 - 1) + b".",
    "bytes of an exabyte": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"a.",
    "text of 4 GB": b"X" + struct.pack("<I", 2**32 - 1) + b"a.",
    "frame beyond the end": b"\x80\x04\x95" + struct.pack("<Q", 2**50) + b"N.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_instructions_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "hostile.p").write_bytes(data)
    with pytest.raises(InputError, match=r"hostile\.p"):
        load_plain_pickle(tmp_path / "hostile.p")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def test_what_would_fill_the_memory_when_it_is_copied_is_refused(tmp_path: Path) -> None:
    """What stands in thousands of places is one value in memory, and as many where records are made of it."""
    sentences = b"](}q\x00" + text("sent") + text("a") + b"s" + b"h\x00" * 9_999 + b"e"
    refs = b"\x80\x02](}q\x01" + text("sentences") + sentences + b"s" + b"h\x01" * 9_999 + b"e."
    for data in (refs, pickle.dumps([["x " * 10_000] * 10_000])):
        assert len(data) < 50_000
        (tmp_path / "copies.p").write_bytes(data)
        with pytest.raises(InputError, match=r"copies\.p is a pickle whose values would fill the memory"):
            load_plain_pickle(tmp_path / "copies.p")


def test_what_holds_itself_and_endless_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "circle.p").write_bytes(b"\x80\x02]q\x00h\x00a.")
    with pytest.raises(InputError, match=r"circle\.p is no complete pickle \(a container holds itself\)"):
        load_plain_pickle(tmp_path / "circle.p")
    (tmp_path / "number.p").write_bytes(pickle.dumps([1 << 20_000]))
    with pytest.raises(InputError, match=r"number\.p is a pickle with a number of more than 1,000 bits"):
        load_plain_pickle(tmp_path / "number.p")


def test_deep_values_are_read(tmp_path: Path) -> None:
    (tmp_path / "deep.p").write_bytes(b"]" * 100_000 + b"a" * 99_999 + b".")
    assert load_plain_pickle(tmp_path / "deep.p")


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps(PLAIN)[:-9], b"\x80\x02.", b"a.", b"\xff" * 20])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "damaged.p").write_bytes(data)
    with pytest.raises(InputError, match=r"damaged\.p"):
        load_plain_pickle(tmp_path / "damaged.p")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.p can't be read: No such file"):
        load_plain_pickle(tmp_path / "missing.p")
