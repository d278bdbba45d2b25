"""Files in a folder of this machine, or at an address that fsspec knows: `s3://`, `gs://`, `https://`, `memory://`.

A file at an address is read by range and never copied as a whole. Knows nothing of what the files hold.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuraltuning.errors import InputError, NeuralTuningError, RunError

WAITS = (1.0, 4.0)
"""Seconds before each further attempt to read a range."""


class Location:
    """A folder or a file, here or at an address.

    Attributes:
        url: its path or address.
        remote: whether it is an address.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = os.fspath(url)
        self.remote = "://" in self.url
        if self.remote:
            self.url = self.url.rstrip("/")

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Location:
        return Location(f"{self.url}/{name}") if self.remote else Location(Path(self.url) / name)

    def glob(self, pattern: str) -> list[str]:
        """The files below a folder that match, relative to it and sorted; none where there is no such folder.

        Raises:
            InputError: the address can't be reached.
        """
        if not self.remote:
            return sorted(path.relative_to(self.url).as_posix() for path in Path(self.url).glob(pattern))
        with reaching(self.url):
            files, root = self._filesystem()
            try:
                found = files.glob(f"{root}/{pattern}")
            except FileNotFoundError:
                return []
            return sorted(str(path)[len(root) :].lstrip("/") for path in found)

    def read(self) -> bytes | None:
        """What a small file holds, or None where there is none.

        Raises:
            InputError: it can't be read, or the address can't be reached.
        """
        with reaching(self.url):
            try:
                if not self.remote:
                    return Path(self.url).read_bytes()
                files, path = self._filesystem()
                return bytes(files.cat_file(path))
            except FileNotFoundError:
                return None

    def open(self) -> str | RemoteFile:
        """A file as pyarrow takes it.

        Raises:
            InputError: the address can't be reached, or there is no such file.
        """
        if not self.remote:
            return self.url
        with reaching(self.url):
            files, path = self._filesystem()
            size = files.size(path)
        if size is None:
            raise InputError(f"The server doesn't say how long {self.url} is; copy the data set to a folder.")
        return RemoteFile(self.url, size, lambda start, end: files.cat_file(path, start=start, end=end))

    def _filesystem(self) -> tuple[Any, str]:
        """fsspec's file system, which it keeps for each process, and the path in it."""
        import fsspec

        files, path = fsspec.core.url_to_fs(self.url)
        return files, str(path).rstrip("/")


class RemoteFile(io.RawIOBase):
    """A file at an address: each read is one request for a range, tried again where it fails."""

    def __init__(self, url: str, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """Opens nothing yet.

        Args:
            url: for messages.
            size: bytes of the file.
            fetch: gives the bytes from a start up to an end.
        """
        self.url, self.size = url, size
        self._fetch = fetch
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self.size)[whence]
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes.

        Raises:
            RunError: the address doesn't answer any more.
            InputError: it doesn't answer with the range that was asked for.
        """
        end = self.size if size is None or size < 0 else min(self.size, self._place + size)
        if end <= self._place:
            return b""
        data = self._try(lambda: self._fetch(self._place, end))
        if len(data) != end - self._place:
            raise InputError(
                f"{self.url} can't be read by range: its server answered {len(data):,} bytes where "
                f"{end - self._place:,} were asked for; copy the data set to a folder or another server."
            )
        self._place = end
        return data

    def _try(self, fetch: Callable[[], bytes]) -> bytes:
        for wait in (*WAITS, None):
            try:
                return fetch()
            except Exception as error:  # each file system has its own
                if wait is None:
                    raise RunError(
                        f"{self.url} can't be read any more ({_said(error)}); run again when it can be reached."
                    ) from error
                time.sleep(wait)
        raise AssertionError


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turns whatever a file system raises in the block into a sentence.

    Raises:
        InputError: there is nothing at the address, a package is missing, or the address can't be reached.
    """
    try:
        yield
    except NeuralTuningError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is nothing at {url}.") from error
    except ImportError as error:
        raise InputError(f"{url} needs a package ({_said(error)}): pip install 'neuraltuning[remote]'.") from error
    except Exception as error:  # each file system has its own
        raise InputError(
            f"{url} can't be read ({_said(error)}); check the address, the network and your credentials."
        ) from error


def _said(error: Exception) -> str:
    """An exception in a few words on one line."""
    lines = str(error).strip().splitlines()
    text = lines[0][:200].rstrip(". ") if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
