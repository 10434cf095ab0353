"""Validators of paths, like those of `settings.values`."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from pydantic import BeforeValidator

from ar_sync_pipeline.files import is_kind, is_read_only, may
from ar_sync_pipeline.settings.values import invalid_value, plain_text


def _absolute(value: object) -> Path:
    path = Path(plain_text(value))
    try:
        path = path.expanduser()
    except RuntimeError:
        raise invalid_value("has an unknown user after ~", "write the whole path") from None
    if not path.is_absolute():
        raise invalid_value(
            "is relative, and daemon and web server may run in different folders",
            "write the whole path from / on",
        )
    return path


def folder(*, writable: bool) -> BeforeValidator:
    """Return a validator of an existing folder, by absolute path, that this user can read.

    Args:
        writable: Whether this user must also be able to write to it.
    """

    def check(value: object) -> Path:
        path = _absolute(value)
        if not is_kind(Path.is_dir, path):
            found = "is not a folder" if is_kind(Path.exists, path) else "does not exist"
            raise invalid_value(found, "mount or make the folder, or correct the path")
        if not may(path, os.R_OK | os.X_OK):
            raise invalid_value("cannot be read by this user", "give this user read permission")
        if writable and not may(path, os.W_OK):
            if is_read_only(path):
                raise invalid_value(
                    "is on a file system that is mounted read-only",
                    "read the kernel's log, and mount it writable again",
                )
            raise invalid_value("cannot be written by this user", "give this user write permission")
        return path

    return BeforeValidator(check)


def own_folder(value: object) -> Path:
    """Parse the absolute path of a folder that is made when it is needed."""
    path = _absolute(value)
    if is_kind(Path.exists, path) and not is_kind(Path.is_dir, path):
        raise invalid_value("is not a folder", "name a folder; it is made when it is needed")
    return path


def readable_file(value: object) -> Path:
    """Parse the absolute path of an existing regular file that this user can read."""
    path = _absolute(value)
    if not is_kind(Path.is_file, path):
        found = "is not a file" if is_kind(Path.exists, path) else "does not exist"
        raise invalid_value(found, "make the file, or correct the path")
    if not may(path, os.R_OK):
        raise invalid_value("cannot be read by this user", "give this user read permission")
    return path


def sftp_path(value: object) -> PurePosixPath:
    """Parse a path on the receiver as SFTP shows it; without ``..``."""
    path = PurePosixPath(plain_text(value))
    if ".." in path.parts:
        raise invalid_value("goes up with ..", "write the path without ..")
    return path
