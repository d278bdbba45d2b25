"""Reading pickles from outside without running anything of them.

Published data sets come as Python pickles, and a pickle is a program. Its instructions are looked at first: only those
that make plain containers, strings, numbers and bytes are admitted, and none that could call, import or allocate more
than the file is large.
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
            return _PlainUnpickler(io.BytesIO(data), encoding=encoding).load()
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
    except InputError:
        raise
    except Exception as error:  # genops raises ValueError mostly, and others on wild bytes
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is no complete pickle ({reason}); get a complete copy.")
