"""Where the results of a batch go: a folder, or an address that ``fsspec`` knows, such as ``s3://bucket/folder``.

Into a folder a video is tracked in place, so that any worker that sees the folder goes on where another one stopped.
For an address it is tracked in a scratch folder, then uploaded whole under a hidden name, then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..command.saved import read_json
from ..errors import InputError, OutputError
from ..files import make_folder, output_errors

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

RECORD = "run.json"
"""The file of a result that is written last."""

_RENAMES_FOLDERS = {"file", "local", "sftp", "ssh", "smb", "hdfs", "arrow_hdfs", "webhdfs"}
"""Protocols by which a folder is renamed at once; elsewhere each file is copied."""


@dataclass(frozen=True)
class Place:
    """Where the result of one video goes.

    Attributes:
        name: of the video.
        folder: where it is tracked.
        address: where its folder is uploaded to; None: nowhere.
    """

    name: str
    folder: Path
    address: str | None = None


@dataclass(frozen=True)
class Storage:
    """Where the results of a batch go.

    Attributes:
        folder: where videos are tracked, and the tables are written.
        address: where all is uploaded to; None: nowhere, the folder is the result.
    """

    folder: Path
    address: str | None = None

    @classmethod
    def open(cls, output: str, scratch: Path | None = None) -> Storage:
        """Open a folder or an address as users name it.

        Args:
            output: the folder or address.
            scratch: where results for an address are made; None: in a folder for temporary files.

        Raises:
            InputError: the address cannot be used, or a scratch folder was given for a folder.
            OutputError: the folder cannot be made.
        """
        if "://" not in output:
            if scratch is not None:
                raise InputError("--scratch is for results that go to an address, such as s3://bucket/folder")
            make_folder(Path(output))
            return cls(Path(output))
        _file_system(output)
        folder = scratch or _temporary(output)
        make_folder(folder)
        return cls(folder, output)

    def place(self, name: str) -> Place:
        """Return where the result of a video goes."""
        return Place(name, self.folder / name, self.address)

    def records(self, names: Iterable[str]) -> dict[str, dict[str, object]]:
        """Return the records of the runs, by name, of the videos that have one.

        Raises:
            OutputError: the address cannot be reached.
        """
        if self.address is None:
            found = {name: read_json(self.folder / name / RECORD) for name in names}
            return {name: record for name, record in found.items() if record is not None}
        with _reaching(self.address):
            system, root = _file_system(self.address)
            paths = [f"{root}/{name}/{RECORD}" for name in names]
            contents = system.cat(paths, on_error="omit") if paths and system.exists(root) else {}
        return {str(path).split("/")[-2]: json.loads(content) for path, content in contents.items()}

    def publish(self, table: Path) -> None:
        """Upload one of the tables, if all goes to an address.

        Raises:
            OutputError: it cannot be uploaded.
        """
        if self.address is not None:
            with _reaching(self.address):
                system, root = _file_system(self.address)
                system.makedirs(root, exist_ok=True)
                partial = f"{root}/.{table.name}.partial"
                system.put_file(str(table), partial)
                system.mv(partial, f"{root}/{table.name}")


def upload(place: Place) -> None:
    """Upload a finished result under a hidden name, rename it, and remove the folder it was made in.

    Where a store cannot rename a folder, its files are renamed one by one, the record of the run last.

    Raises:
        OutputError: it cannot be uploaded.
    """
    if place.address is None:
        return
    with _reaching(place.address):
        system, root = _file_system(place.address)
        partial, target = f"{root}/.{place.name}.partial", f"{root}/{place.name}"
        files = sorted(path for path in place.folder.rglob("*") if path.is_file())
        names = [path.relative_to(place.folder).as_posix() for path in files]
        for path in (partial, target):
            if system.exists(path):
                system.rm(path, recursive=True)
        _put(system, files, [f"{partial}/{name}" for name in names])
        protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
        if protocol in _RENAMES_FOLDERS:
            system.mv(partial, target)
        else:
            _rename_each(system, partial, target, sorted(names, key=lambda name: name == RECORD))
    shutil.rmtree(place.folder, ignore_errors=True)


def _put(system: AbstractFileSystem, files: list[Path], paths: list[str]) -> None:
    for parent in sorted({path.rpartition("/")[0] for path in paths}):
        system.makedirs(parent, exist_ok=True)
    system.put([str(file) for file in files], paths)


def _rename_each(system: AbstractFileSystem, partial: str, target: str, names: list[str]) -> None:
    for parent in sorted({f"{target}/{name}".rpartition("/")[0] for name in names}):
        system.makedirs(parent, exist_ok=True)
    for name in names:
        system.mv(f"{partial}/{name}", f"{target}/{name}")
    if system.exists(partial):
        system.rm(partial, recursive=True)


def _file_system(address: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of an address, and the path of the address there.

    Raises:
        InputError: the protocol is unknown, or the package for it is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise InputError(f"{address}: cannot be used ({error}); give a folder, or an address fsspec knows") from error
    return system, str(root).rstrip("/")


class _reaching:
    """Turn any error of the block but ours into an :class:`~vos.errors.OutputError`: stores raise their own kinds."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, InputError | OutputError):
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OutputError(f"{self._address}: cannot be used ({reason}); check the address and access") from error


def _temporary(output: str) -> Path:
    """Return a folder for what goes to an address, always the same one, so that a later run goes on there.

    Raises:
        OutputError: somebody else has made it.
    """
    owner = os.getuid() if hasattr(os, "getuid") else 0
    digest = hashlib.sha256(output.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"vos-batch-{owner}-{digest}"
    with output_errors(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    if folder.is_symlink() or (hasattr(os, "getuid") and status.st_uid != owner):
        raise OutputError(f"{folder}: belongs to somebody else; give a folder by --scratch")
    return folder


def as_request(place: Place) -> dict[str, object]:
    """Return a place as JSON holds it."""
    return {"name": place.name, "folder": str(place.folder), "address": place.address}


def from_request(request: Mapping[str, object]) -> Place:
    """Return the place of :func:`as_request`."""
    address = request["address"]
    return Place(str(request["name"]), Path(str(request["folder"])), None if address is None else str(address))
