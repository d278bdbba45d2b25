"""ZIP files in the place of folders, as data sets are downloaded. Knows nothing of what is in them.

    with Archives(near=Path("data")) as archives:
        folder = archives.folder(Path("refcoco.zip/refcoco"))

A folder in a ZIP is named behind the ZIP. What is unpacked stands in a temporary folder, which goes at the end.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.progress import track

from neuraltuning.errors import InputError, RunError

MAX_BYTES = 2**40
"""A ZIP that unpacks to more is refused."""
MAX_RATIO = 200
"""A ZIP that unpacks to more than so many times its own size is refused; pictures and JSON stay far below."""
SMALL = 100 * 2**20
"""Up to so many unpacked bytes the ratio doesn't matter."""
JUNK = "__MACOSX"
"""What macOS adds to a ZIP; it is not unpacked."""


class Archives:
    """Folders, and ZIPs that are unpacked once and count as folders; a context manager."""

    def __init__(self, near: Path) -> None:
        """Unpacks into a temporary folder in `near`, which is created where missing."""
        self.near = near
        self._unpacked: dict[Path, Path] = {}
        self._whole: set[Path] = set()

    def __enter__(self) -> Archives:
        return self

    def __exit__(self, *error: object) -> None:
        for folder in self._unpacked.values():
            shutil.rmtree(folder, ignore_errors=True)

    def folder(self, path: Path) -> Path:
        """The folder that `path` names: a folder, a ZIP, or a folder in a ZIP.

        Raises:
            InputError: there is no such folder, or the ZIP is damaged or not to be trusted.
            RunError: the disk has no room for what is in it.
        """
        if path.is_dir():
            return path
        archive = next((p for p in (path, *path.parents) if p.is_file()), None)
        if archive is None:
            raise InputError(f"There is no folder {path}.")
        if archive.suffix.lower() != ".zip":
            raise InputError(f"{archive} is neither a folder nor a ZIP; unpack it and name its folder.")
        if archive not in self._unpacked:
            self._unpack(archive)
        root = self._unpacked[archive]
        if path == archive:
            self._whole.add(archive)
        folder = (root / path.relative_to(archive)).resolve()
        if not folder.is_relative_to(root) or not folder.is_dir():
            raise InputError(f"There is no folder {path}; {archive} holds {_listed(root)}.")
        return folder

    def named(self, text: str) -> str:
        """A sentence with the ZIPs' names in the place of the temporary folders'."""
        for archive, root in self._unpacked.items():
            text = text.replace(str(root), str(archive))
        return text

    def hint(self) -> str:
        """What to try where files weren't found in a ZIP: the folder that all of it stands in; "" without one."""
        lone = [
            f"{archive}/{inside[0].name}"
            for archive in sorted(self._whole)
            if len(inside := list(self._unpacked[archive].iterdir())) == 1 and inside[0].is_dir()
        ]
        return f" All of the ZIP stands in one folder, which is named by {' or '.join(lone)}." if lone else ""

    def _unpack(self, archive: Path) -> None:
        try:
            with zipfile.ZipFile(archive) as file:
                entries = [entry for entry in file.infolist() if PurePosixPath(entry.filename).parts[:1] != (JUNK,)]
                size = _check(entries, archive)
                self.near.mkdir(parents=True, exist_ok=True)
                if size > (free := shutil.disk_usage(self.near).free):
                    raise RunError(
                        f"{archive} unpacks to {_gigabytes(size)}, but {self.near} has only {_gigabytes(free)} free; "
                        "free some space, or unpack it elsewhere and name its folder."
                    )
                root = Path(tempfile.mkdtemp(prefix=".unpacking.", dir=self.near)).resolve()
                self._unpacked[archive] = root
                for entry in track(entries, f"Unpacking {archive.name}", console=Console(stderr=True)):
                    file.extract(entry, root)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise InputError(f"{archive} is no complete ZIP ({error}); get a complete copy.") from error
        except OSError as error:
            raise RunError(f"{archive} can't be unpacked in {self.near}: {error.strerror or error}.") from error


def _check(entries: list[zipfile.ZipInfo], archive: Path) -> int:
    """The bytes that the entries unpack to.

    Raises:
        InputError: one would leave the folder, is a link or locked, or they are far larger than the ZIP.
    """
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise InputError(f"{archive} is not unpacked: its entry {entry.filename!r} would leave the folder.")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{archive} is not unpacked: its entry {entry.filename!r} is a link or a device.")
        if entry.flag_bits & 1:
            raise InputError(f"{archive} is locked with a password; unpack it and name its folder.")
    size = sum(entry.file_size for entry in entries)
    ratio = size / max(archive.stat().st_size, 1)
    if size > MAX_BYTES or (size > SMALL and ratio > MAX_RATIO):
        raise InputError(
            f"{archive} is not unpacked: it would become {_gigabytes(size)}, {ratio:,.0f} times its own size."
        )
    return size


def _listed(root: Path) -> str:
    names = sorted(path.name for path in root.iterdir())
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"
