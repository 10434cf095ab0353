"""Finds file systems that take two names for one: they ignore case, or normalize Unicode.

SMB shares, FAT, and ext4 with ``casefold`` are such file systems. Of two files of the sender whose
names differ only so, they keep one.
"""

from __future__ import annotations

import errno
import os
import secrets
import unicodedata
from contextlib import suppress
from pathlib import Path
from string import ascii_letters

from ar_sync_pipeline.files import HeldFolder, create_file
from ar_sync_pipeline.media.safe_paths import TEMPORARY_PREFIX

PROBE = r"(Name|\u00e9)-[0-9a-f]{8}"
"""Pattern of the names of probes, after the prefix of temporary names."""

_COMPOSED = unicodedata.normalize("NFC", "\u00e9")
# Of these letters alone, since not every file system folds the others, such as a sharp s.
_SWAPPED = str.maketrans(ascii_letters, ascii_letters.swapcase())
# The name is too long when it is decomposed, or the file system cannot store its characters.
_NO_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_PROBES = (
    ("Name", "name", "ignores case in names"),
    (_COMPOSED, unicodedata.normalize("NFD", _COMPOSED), "normalizes Unicode in names"),
)


def folding_of(folder: Path) -> str | None:
    """Return how the file system of a folder takes two names for one; None if it does not.

    It is tried with an empty file, which is removed. Where none can be made, nothing is known.
    """
    with suppress(OSError), HeldFolder.open(folder, follow=True) as held:
        found = [what for name, other, what in _PROBES if _is_one_file(held, name, other)]
        return " and ".join(found) or None
    return None


def folding_problem(folder: Path) -> str | None:
    """Return `folding_of` as the problem of a media folder."""
    what = folding_of(folder)
    if what is None:
        return None
    return (
        f"the file system of the media folder {folder} {what}, so that of two files such as A.jpeg"
        " and a.jpeg it keeps one"
    )


def is_reached_otherwise(held: HeldFolder, name: str) -> bool:
    """Return whether a folder has an entry under a name that differs in case or normalization too.

    A subfolder may be on another file system, and in ext4 fold names where its parent does not.
    """
    facts = held.facts(name)
    return facts is not None and any(
        _is_same(held, other, facts) for other in _other_spellings(name)
    )


def _other_spellings(name: str) -> set[str]:
    """Return names that are one with a name for one kind of file system each."""
    normal = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")}
    return {name.translate(_SWAPPED), name.swapcase(), *normal} - {name}


def _is_same(held: HeldFolder, name: str, facts: os.stat_result) -> bool:
    try:
        found = held.facts(name)
    except OSError as error:
        if error.errno in _NO_NAME:
            return False
        raise
    return found is not None and os.path.samestat(found, facts)


def _is_one_file(held: HeldFolder, name: str, other: str) -> bool:
    token = secrets.token_hex(4)
    made = f"{TEMPORARY_PREFIX}{name}-{token}"
    try:
        os.close(create_file(made, 0o600, held.fd))
    except OSError:
        return False  # no rights, no space, or no such character on this file system
    try:
        return held.facts(f"{TEMPORARY_PREFIX}{other}-{token}") is not None
    finally:
        held.remove(made)
