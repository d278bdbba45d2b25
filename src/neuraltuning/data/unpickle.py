"""Reading pickles from outside without running anything of them.

Published data sets come as Python pickles, and a pickle is a program. Its instructions are looked at first: only those
that make plain containers, strings, numbers and bytes are admitted, and none that could call, import or allocate more
than the file is large. Nor may a value that stands in many places, and is one in memory, fill it when it is copied.
"""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from neuraltuning.errors import InputError

ADMITTED = frozenset(
    (
        *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP"),
        *("NONE", "NEWTRUE", "NEWFALSE"),
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET"),
        *("GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"),
    )
)
"""Instructions of pickles that make plain values."""

MOST_BITS = 1_000
"""Of a whole number: larger ones can be neither printed nor calculated with."""
MOST_COPIES = 32
"""Weight of the values, as `_weight` has it, for each byte of the file; published files stay below 10."""
SMALL = 4_096
"""Bytes that even a smaller file counts as."""

_MEMO = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))


def load_plain_pickle(path: str | os.PathLike[str]) -> Any:
    """The value in a pickle of containers, strings, numbers and bytes.

    Strings that Python 2 wrote are taken as UTF-8, or as Latin-1 if any of them isn't.

    Raises:
        InputError: no such file, none of a pickle, or a pickle that holds or does anything else; nothing of it ran.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"The file {path} can't be read: {error.strerror or error}.") from error
    _require_plain(data, path)
    for encoding in ("utf-8", "latin-1"):
        try:
            value = _PlainUnpickler(io.BytesIO(data), encoding=encoding).load()
            if _weight(value) > MOST_COPIES * max(len(data), SMALL):
                raise InputError(
                    f"{path} is a pickle whose values would fill the memory when they are copied; it is not read."
                )
            return value
        except UnicodeDecodeError:
            continue
        except InputError:
            raise
        except Exception as error:  # instructions in an impossible order fail in many ways
            raise _damaged(path, error) from error
    raise _damaged(path, "its text is in no known encoding")


class _PlainUnpickler(pickle.Unpickler):
    """Refuses once more what `_require_plain` has refused before."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise InputError(f"The pickle asks for {module}.{name}; only plain values are read.")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise InputError("The pickle refers to an object outside of it; only plain values are read.")


def _require_plain(data: bytes, path: Path) -> None:
    count = 0
    try:
        for opcode, argument, position in pickletools.genops(data):
            count += 1
            if opcode.name not in ADMITTED:
                wanted = f" {argument}" if isinstance(argument, str) else ""
                raise InputError(
                    f"{path} is a pickle that does more than hold plain values: {opcode.name}{wanted!s} at byte "
                    f"{position}. It could run anything, so it is not read; ask its maker for plain data."
                )
            # the memo is an array as long as its largest index
            if opcode.name in _MEMO and isinstance(argument, int) and not 0 <= argument <= count:
                raise InputError(f"{path} is a pickle that asks for more memory than it has content; it is not read.")
            if isinstance(argument, int) and argument.bit_length() > MOST_BITS:
                raise InputError(f"{path} is a pickle with a number of more than {MOST_BITS:,} bits; it is not read.")
    except InputError:
        raise
    except Exception as error:  # genops raises ValueError mostly, and others on wild bytes
        raise _damaged(path, error) from error


_CONTAINERS = (list, tuple, dict, set, frozenset)


def _weight(value: Any) -> int:
    """What a value would weigh if all that stands in it several times were copied: 10 a value, 1 a character or byte.

    Raises:
        ValueError: a container holds itself.
    """
    weights: dict[int, int] = {}  # of the containers, by their identity
    begun: set[int] = set()
    whole = [value]
    waiting: list[Any] = [whole]
    while waiting:
        item = waiting[-1]
        if id(item) in weights:
            waiting.pop()
            continue
        parts = [*item, *item.values()] if isinstance(item, dict) else item
        inner = [part for part in parts if isinstance(part, _CONTAINERS)]
        if id(item) in begun:
            texts = sum(len(part) for part in parts if isinstance(part, (str, bytes, bytearray)))
            weights[id(item)] = 10 * len(parts) + texts + sum(weights[id(part)] for part in inner)
            continue
        begun.add(id(item))
        for part in inner:
            if id(part) not in begun:
                waiting.append(part)
            elif id(part) not in weights:
                raise ValueError("a container holds itself")
    return weights[id(whole)]


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is no complete pickle ({reason}); get a complete copy.")
