"""Names of members: which names are safe, and which names the chunks of a manifest have.

A member's name comes from a picture folder, from the database or from another machine, and
becomes a path on the receiver. The rule is one for all three (old system, D17, D18, D19): any
text that is a plain relative path, whatever letters it has, and nothing else.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator

from ar_sync_pipeline.archive.manifest import Chunk, Manifest
from ar_sync_pipeline.visible_text import quoted

MAX_NAME_CHARS = 1024
MAX_COMPONENT_BYTES = 255  # NAME_MAX of every file system that PostgreSQL or Django runs on
_MAX_LABEL_BYTES = 200  # leaves space for the number and the suffixes
# Control characters and line separators (a name with a newline is two names to a reader of
# lists), and lone surrogates (what Python makes of a name that is not UTF-8).
_REFUSED_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Cs"})
# Most names, recognized at once: printable ASCII, no component that is hidden or too long.
_PLAIN_COMPONENT = r"[!-\-0-~][ -.0-~]{0,254}"
_PLAIN = re.compile(rf"(?:{_PLAIN_COMPONENT}/)*{_PLAIN_COMPONENT}")


def is_plain_name(name: str) -> bool:
    """Return whether a name is safe and only of ASCII characters, without a hidden component.

    Other names may be safe, too; `name_problem` decides.
    """
    return len(name) <= MAX_NAME_CHARS and _PLAIN.fullmatch(name) is not None


def name_problem(name: str) -> str | None:
    """Return why a relative name is not safe as a member or a path; None if it is safe.

    >>> name_problem("2017/ñandú grande.jpeg")
    >>> name_problem("../secret.jpeg")
    "it has a '..' component"
    """
    return None if is_plain_name(name) else _problem(name)


def _problem(name: str) -> str | None:
    if not name or name.startswith("/"):
        return "it is empty or absolute"
    if len(name) > MAX_NAME_CHARS:
        return f"it is longer than {MAX_NAME_CHARS} characters"
    refused = _refused_character(name)
    if refused is not None:
        return f"it has the character U+{ord(refused):04X}"
    for component in name.split("/"):
        if component in {"", ".", ".."}:
            return f"it has a {component!r} component"
        if len(component.encode()) > MAX_COMPONENT_BYTES:
            return f"a component is longer than {MAX_COMPONENT_BYTES} bytes"
    return None


def _refused_character(name: str) -> str | None:
    if name.isprintable():
        return None
    return next((c for c in name if unicodedata.category(c) in _REFUSED_CATEGORIES), None)


CHANGED_KEYS, ABSENT_KEYS = "keys", "absent"
"""Parts of a table that are lists of keys."""


def table_member_path(table: str, part: int | str) -> str:
    """Return the member name of a chunk: ``tables/<table>.00000.copy.zst``.

    Characters of the table's label that a file name cannot contain are percent-encoded, and so is
    the percent sign: two labels never have the same member.

    >>> table_member_path("bus", 0), table_member_path("in/out 5%", CHANGED_KEYS)
    ('tables/bus.00000.copy.zst', 'tables/in%2Fout 5%25.keys.copy.zst')

    Args:
        part: Number of the chunk, or `CHANGED_KEYS` or `ABSENT_KEYS`.
    """
    name = part if isinstance(part, str) else f"{part:05d}"
    return f"tables/{_file_name(table)}.{name}.copy.zst"


def _file_name(label: str) -> str:
    encoded = "".join(_encoded(c) if _is_encoded(c) else c for c in label)
    if encoded.startswith("."):  # a hidden file, which listings and cleaning would not see
        encoded = "%2E" + encoded[1:]
    if len(encoded.encode()) <= _MAX_LABEL_BYTES:
        return encoded
    # No encoded character begins with "%~".
    return "%~" + hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()


def _is_encoded(character: str) -> bool:
    return character in "/%" or _refused_character(character) is not None


def _encoded(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def range_below(folder: str) -> tuple[str, str]:
    """Return two bounds, themselves excluded: all paths in a folder, and no others, are between.

    "0" follows "/".

    >>> range_below("a/b")
    ('a/b/', 'a/b0')
    """
    return f"{folder}/", f"{folder}0"


class PathOrder:
    """Checks the paths of a sorted list of media files one by one, in bounded memory.

    Of the paths so far it keeps those that may still become folders of later ones: each of these
    begins with the one before it, so they are fewer than a path has characters.
    """

    def __init__(self) -> None:
        self._last = ""
        self._open: list[str] = []

    def problem(self, path: str) -> str | None:
        """Return why a path is not safe, or cannot follow the paths so far; None if it can."""
        problem = name_problem(path)
        if problem is not None:
            return f"media name {quoted(path)}: {problem}"
        if path <= self._last:
            return f"media name {quoted(path)} is not after {quoted(self._last)}"
        # "0" follows "/": no path from here on is in the folder of this name.
        while self._open and path >= self._open[-1] + "0":
            self._open.pop()
        if self._open and path.startswith(self._open[-1] + "/"):
            folder = self._open[-1]
            return f"media name {quoted(folder)} is a file and the folder of {quoted(path)}"
        self._last = path
        self._open.append(path)
        return None


def manifest_names_problem(manifest: Manifest) -> str | None:
    """Return what is wrong with the member names of a manifest; None if nothing is.

    A chunk must be named after its table and number, every name must be a safe relative path, and
    no file may have the name of another member's folder.
    """
    for table in manifest.tables:
        named: list[tuple[int | str, Chunk | None]] = list(enumerate(table.chunks))
        named += [(CHANGED_KEYS, table.changed_keys), (ABSENT_KEYS, table.absent_keys)]
        for part, chunk in named:
            expected = table_member_path(table.name, part)
            if chunk is not None and chunk.member != expected:
                return f"table {table.name}: a chunk is {chunk.member!r}, not {expected!r}"
    paths = {entry.path for entry in manifest.media}
    for path in paths:
        problem = name_problem(path)
        if problem is not None:
            return f"media name {quoted(path)}: {problem}"
        for folder in folders_of(path):
            if folder in paths:
                return f"media name {quoted(folder)} is a file and the folder of {quoted(path)}"
    return None


def folders_of(path: str) -> Iterator[str]:
    """Yield the folders of a path, innermost first.

    >>> list(folders_of("2017/11/a.jpeg"))
    ['2017/11', '2017']
    """
    while path := path.rpartition("/")[0]:
        yield path
