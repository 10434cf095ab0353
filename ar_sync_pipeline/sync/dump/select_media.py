"""Selection of an archive's media files: found, missing, refused, and omitted with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from ar_sync_pipeline.archive.member_names import folders_of
from ar_sync_pipeline.media.inventory import resolve_references, scan_media
from ar_sync_pipeline.media.media_file import OmittedMedia, RefusedName
from ar_sync_pipeline.media.safe_paths import open_parent
from ar_sync_pipeline.sync.dump.bundle_files import BundleFiles
from ar_sync_pipeline.visible_text import visible

WENT_AWAY = "it went away, or became something else, while it was read"
_TOO_LARGE = "it is larger than the free space that the receiver's spool has for it"
# The archive has rows besides, and an upload needs a twentieth more than its bytes.
_SHARE_OF_FREE_SPACE = 0.9
_SMALLEST_OMITTED_BYTES = 10**9
_NAMES_AT_ONCE = 1_000
_MOST_REFUSED = 1_000


@dataclass
class MediaSelection:
    """Files that an archive may contain, and names without such a file.

    Attributes:
        files: The files, and names in rows.
        refused: The first names that cannot be those of a media file, made printable.
        refused_count: Number of all of them.
        omitted: Files that exist and are not sent now, by path.
        gone: Owed paths of which nothing is left to send.
        named_only: Whether only files that a row names are sent and reported.
    """

    folder: Path
    patterns: Sequence[str]
    files: BundleFiles
    refused: list[RefusedName] = field(default_factory=list)
    refused_count: int = 0
    omitted: dict[str, OmittedMedia] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    named_only: bool = False

    def scan(self, within: tuple[datetime, datetime] | None, *, below: str = "") -> None:
        """Add the files that match a pattern.

        Args:
            within: Half-open interval of modification times; None: any.
            below: Subfolder to scan; empty: the whole folder.
        """
        found = scan_media(
            self.folder,
            self.patterns,
            modified_within=within,
            on_refused=None if self.named_only else self._refuse,
            on_omitted=self.omit,
            below=below,
        )
        self.files.add(found)

    def add_referenced(self, names: Iterable[str]) -> None:
        """Add the files that rows name, whatever their pattern."""
        self.files.add_names(names)
        for page in self.files.names_without_file():
            named = resolve_references(self.folder, page)
            self.files.add(named.found)
            later = {name.name for name in named.refused if name.temporary}
            found = {file.path for file in named.found}
            self.files.lose(set(page) - found - later, missing=False)
            self.files.lose(named.missing, missing=True)
            self._split(named.refused)

    def add_owed(self, paths: Iterable[str]) -> None:
        """Add what could not be sent earlier."""
        owed = set(paths)
        folders = {path for path in owed if path.endswith("/")}
        for path in sorted(folders):
            self._scan_owed(path)
        for page in _pages(sorted(owed - folders)):
            named = resolve_references(self.folder, page)
            self.files.add(named.found)
            self._split([name for name in named.refused if name.temporary])
            self.gone |= {*named.missing, *(n.name for n in named.refused if not n.temporary)}

    def keep_named(self, names: Iterable[str], owed: Iterable[str]) -> None:
        """Keep only files that a row names; owed files are no exception."""
        self.files.add_names(names)
        self.files.keep_named()
        self.omitted = {
            path: item
            for path, item in self.omitted.items()
            if item.temporary and self.files.is_named(path)
        }
        self.gone |= {p for p in owed if p not in self.omitted and not self.files.has(p)}

    def omit(self, item: OmittedMedia) -> None:
        """Record a file that is not sent; if it disappeared and a row names it, it is missing."""
        self.files.drop(item.path)
        if item.reason == WENT_AWAY and self.files.is_named(item.path):
            self.files.lose([item.path], missing=True)
        else:
            self.omitted[item.path] = item

    def omit_larger(self, free_bytes: int | None) -> None:
        """Omit the largest files if no archive with all fits into the receiver's free space.

        No row would arrive.
        """
        if free_bytes is None:
            return
        # Of smaller files there may be many, and a disk that is as full as that takes nothing.
        most_bytes = int(free_bytes * _SHARE_OF_FREE_SPACE)
        for path in self.files.carried_beyond(most_bytes, _SMALLEST_OMITTED_BYTES):
            self.omit(OmittedMedia(path, _TOO_LARGE, temporary=True))

    def _scan_owed(self, path: str) -> None:
        try:
            with open_parent(self.folder, f"{path}_"):
                pass
        except NotADirectoryError:
            return  # a link by now, or a file
        except OSError:
            pass  # the scan tells it
        self.scan(None, below=path)

    def _split(self, refused: Iterable[RefusedName]) -> None:
        """Omit names that can be sent once their files are readable; refuse the others."""
        for name in refused:
            if name.temporary:
                self.omit(OmittedMedia(name.name, name.reason, temporary=True))
            else:
                self._refuse(name)
                if name.omits is not None and not self._is_omitted(name.omits):
                    self.omit(OmittedMedia(name.omits, name.reason))

    def _is_omitted(self, path: str) -> bool:
        folders = (f"{folder}/" for folder in folders_of(path))
        return path in self.omitted or any(folder in self.omitted for folder in folders)

    def _refuse(self, name: RefusedName) -> None:
        self.refused_count += 1
        if len(self.refused) < _MOST_REFUSED:
            self.refused.append(replace(name, name=visible(name.name)))


def _pages(names: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while page := list(islice(rest, _NAMES_AT_ONCE)):
        yield page
