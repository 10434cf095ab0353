"""Selection of an archive's media files: found, missing, refused, and omitted with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.media.inventory import (
    MediaFile,
    OmittedMedia,
    RefusedName,
    resolve_references,
    scan_media,
)

WENT_AWAY = "it went away, or became something else, while it was read"


@dataclass
class MediaSelection:
    """Files that an archive may contain, and names without such a file.

    Attributes:
        files: Files by path.
        missing: Names in rows without a file.
        refused: Names that cannot be those of a media file.
        omitted: Files that exist and are not sent now, by path.
        gone: Owed paths of which nothing is left to send.
        referenced: Paths of files that rows name.
        unresolved: Names in rows, as they are there, that are missing or refused.
    """

    folder: Path
    patterns: Sequence[str]
    files: dict[str, MediaFile] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    refused: list[RefusedName] = field(default_factory=list)
    omitted: dict[str, OmittedMedia] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    referenced: set[str] = field(default_factory=set)
    unresolved: set[str] = field(default_factory=set)

    def scan(self, within: tuple[datetime, datetime] | None, *, below: str = "") -> set[str]:
        """Add the files that match a pattern; return their paths.

        Args:
            within: Half-open interval of modification times; None: any.
            below: Subfolder to scan; empty: the whole folder.
        """
        found = scan_media(
            self.folder,
            self.patterns,
            modified_within=within,
            on_refused=self.refused.append,
            on_omitted=self.omit,
            below=below,
        )
        files = {file.path: file for file in found}
        self.files |= files
        return set(files)

    def add_referenced(self, names: Iterable[str]) -> None:
        """Add the files that rows name, whatever their pattern."""
        asked = set(names)
        named = resolve_references(self.folder, asked)
        later = {name.name for name in named.refused if name.temporary}
        self.unresolved |= asked - {file.path for file in named.found} - later
        self.files |= {file.path: file for file in named.found}
        self.referenced.update(file.path for file in named.found)
        self.missing.update(named.missing)
        self._split(named.refused)

    def add_owed(self, paths: Iterable[str]) -> dict[str, set[str]]:
        """Add what could not be sent earlier; return the files of each owed path."""
        owed = set(paths)
        folders = {path for path in owed if path.endswith("/")}
        found = {path: self._scan_owed(path) for path in folders}
        named = resolve_references(self.folder, owed - folders)
        self.files |= {file.path: file for file in named.found}
        self._split([name for name in named.refused if name.temporary])
        self.gone |= {*named.missing, *(n.name for n in named.refused if not n.temporary)}
        return found | {file.path: {file.path} for file in named.found}

    def keep_named(self, names: Iterable[str], owed: Iterable[str]) -> None:
        """Drop every file that no name refers to, also owed ones."""
        named = MediaSelection(self.folder, self.patterns)
        named.add_referenced(names)
        self.files = {path: file for path, file in self.files.items() if path in named.files}
        self.omitted = {path: o for path, o in self.omitted.items() if path in named.omitted}
        self.gone |= set(owed) - named.files.keys() - named.omitted.keys()

    def omit(self, item: OmittedMedia) -> None:
        """Record a file that is not sent; if it disappeared and a row names it, it is missing."""
        self.files.pop(item.path, None)
        if item.reason == WENT_AWAY and item.path in self.referenced:
            self.missing.add(item.path)
            self.unresolved.add(item.path)
        else:
            self.omitted[item.path] = item

    def _scan_owed(self, path: str) -> set[str]:
        place = self.folder / path
        if any(folder.is_symlink() for folder in (place, *place.parents)[: path.count("/")]):
            return set()
        return self.scan(None, below=path)

    def _split(self, refused: Iterable[RefusedName]) -> None:
        """Omit names that can be sent once their files are readable; refuse the others."""
        for name in refused:
            if name.temporary:
                self.omit(OmittedMedia(name.name, name.reason, temporary=True))
            else:
                self.refused.append(name)


def without_ancestors(paths: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return paths that can be files together, and those that are also a folder of another one.

    A file that became a folder while the folder was scanned may have been seen as both.
    """
    wanted = set(paths)
    folders = {parent for path in wanted for parent in _parents(path) if parent in wanted}
    return wanted - folders, folders


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]
