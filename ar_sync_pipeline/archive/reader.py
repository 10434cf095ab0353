"""Reads an archive that may be hostile, truncated or damaged: streamed, checked, never extracted.

No header is interpreted. The header of the manifest carries its sha256, and the manifest
determines every other byte that is not content (`tar_layout`). So links, devices, escaping names,
repeated and extra members all show as unexpected bytes. Content is compared with its sha256 while
it streams. Memory is bounded by the limit of the manifest, independent of the file. A list of media
files in a member of its own is read at the offset that the manifest determines, beside the members.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ar_sync_pipeline.archive.archive_bytes import ArchiveBytes
from ar_sync_pipeline.archive.canonical_json import signature_of
from ar_sync_pipeline.archive.chunk_member import decompress_chunk
from ar_sync_pipeline.archive.errors import USUAL_REMEDY, CorruptArchiveError, UnsignedArchiveError
from ar_sync_pipeline.archive.manifest import MANIFEST_MEMBER, Manifest
from ar_sync_pipeline.archive.manifest_media import ListedMedia, MediaEntry
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline.archive.media_list import read_media_list
from ar_sync_pipeline.archive.member_stream import MemberStream, other_content, other_padding
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.regular_file import open_regular_file
from ar_sync_pipeline.archive.tar_layout import (
    END_OF_ARCHIVE,
    MANIFEST_HEADER_BYTES,
    Layout,
    Slot,
    padding_bytes,
    read_manifest_header,
)

_SMALL_MEMBER_BYTES = 1024 * 1024
_DEFAULT_LIMITS = ReadLimits()


@contextmanager
def open_archive(path: Path, limits: ReadLimits = _DEFAULT_LIMITS) -> Iterator[ArchiveReader]:
    """Open an archive and check its manifest, its name and its size.

    Args:
        path: Path of the archive, under its waiting or applied name.
        limits: Limits of the reader.

    Raises:
        UnreadableArchiveError: The file cannot be opened or read.
        CorruptArchiveError: The name, the manifest or the size is wrong.
    """
    with open_regular_file(path) as file:
        yield ArchiveReader(path, file, limits)


def verify_archive(
    path: Path, *, signing_keys: Collection[bytes], limits: ReadLimits = _DEFAULT_LIMITS
) -> Manifest:
    """Read an archive to its last byte, decompress its chunks, and return its manifest.

    Args:
        path: Path of the archive.
        signing_keys: Accepted keys; if there are any, the archive must be signed with one.
        limits: Limits of the reader.

    Raises:
        UnreadableArchiveError: The file cannot be opened or read.
        UnsignedArchiveError: The signature is missing or wrong.
        CorruptArchiveError: A byte differs from the manifest.
    """
    with open_archive(path, limits) as reader:
        reader.check_signature(signing_keys)
        reader.read_to_the_end()
        return reader.manifest


class ArchiveReader:
    """An open archive that is read once from start to end; created by `open_archive`.

    Attributes:
        path: Path of the archive file.
        size_bytes: Size of the archive file in bytes.
        written_at: Time when the file was last written: the end of its upload, if it is in a spool.
        manifest: Checked manifest.
        manifest_sha256: SHA-256 of the manifest, which determines every other byte of the file.
    """

    def __init__(self, path: Path, file: io.BufferedReader, limits: ReadLimits) -> None:
        self.path = path
        self._bytes = ArchiveBytes(path, file)
        self.size_bytes = self._bytes.size_bytes
        self.written_at = self._bytes.written_at
        if self.size_bytes > limits.archive_bytes:
            raise self._corrupt(f"larger than {limits.archive_bytes} bytes")
        self._manifest_json, self.manifest_sha256 = self._read_manifest(limits)
        self.manifest = parse_manifest(self._manifest_json, limits, archive=path.name)
        self._layout = Layout.of(
            len(self._manifest_json), self.manifest_sha256, self.manifest.members()
        )
        # First: the remedy for another name is for an archive that has all its bytes.
        self._check_size()
        self._check_name()

    def check_manifest(self, sha256: str) -> None:
        """Check that this is the archive that was verified before, byte for byte.

        Raises:
            CorruptArchiveError: The archive has another manifest.
        """
        if self.manifest_sha256 != sha256:
            raise self._corrupt(
                "it is not what was verified under this name",
                remedy="find out who replaced it; the sender sends its content again",
            )

    def check_signature(self, keys: Collection[bytes]) -> None:
        """Check that the manifest is signed with one of the keys, if there are any.

        Raises:
            UnsignedArchiveError: The manifest is not signed, or signed with another key.
        """
        if not keys:
            return
        found = self.manifest.hmac
        if found is None:
            raise UnsignedArchiveError("it is not signed", archive=self.path.name)
        right = (signature_of(self._manifest_json, key) for key in keys)
        if not any(hmac.compare_digest(found, signature) for signature in right):
            raise UnsignedArchiveError(
                "its signature was not made with this side's key", archive=self.path.name
            )

    def media(self) -> Iterator[MediaEntry]:
        """Yield the media files that the archive lists; it can be called several times.

        A list in a member of its own is sorted by path, and checked as a whole at its end.

        Raises:
            CorruptArchiveError: The list is not in its form, or differs from the manifest.
            UnreadableArchiveError: The disk fails.
        """
        for file in self.listed_media():
            yield file if isinstance(file, MediaEntry) else file.entry

    def listed_media(self) -> Iterator[ListedMedia]:
        """Yield the same files as `media`, those of a list as its lines, which cost less."""
        listed = self.manifest.media_list
        if listed is None:
            return iter(self.manifest.media)
        slot = self._layout.slots[1]
        stream = MemberStream(slot, self._bytes.at(slot.data_at))
        return read_media_list(stream, listed, archive=self.path.name)

    def members(
        self, on_not_carried: Callable[[ListedMedia], None] | None = None
    ) -> Iterator[tuple[str, MemberStream]]:
        """Yield the members after the manifest, in its order, as (name, stream); call it once.

        A stream is valid until the next member is requested; its unread rest is read and checked
        then. The end of the archive is checked after the last member.

        Args:
            on_not_carried: Called for each media file that is listed and not carried.

        Raises:
            CorruptArchiveError: A byte differs from the manifest.
            UnreadableArchiveError: The disk fails.
        """
        for slot, entry in self._slots(on_not_carried):
            stream = self._stream(slot, entry)
            yield slot.name, stream
            stream.finish()
        self._check_end()

    def _stream(self, slot: Slot, entry: ListedMedia | None) -> MemberStream:
        expected = slot.header()
        self._check_header(slot, expected, self._bytes.read(len(expected), slot.name))
        return MemberStream(slot, self._bytes, entry)

    def _check_header(self, slot: Slot, expected: bytes, found: bytes) -> None:
        if found != expected:
            raise self._corrupt(
                "another header than that of a regular file of this name and size",
                member=slot.name,
                offset=slot.header_at,
            )

    def _check_end(self) -> None:
        if self._bytes.read(len(END_OF_ARCHIVE), None) != END_OF_ARCHIVE:
            raise self._corrupt("it does not end with zeros", offset=self._content_end)

    @property
    def _content_end(self) -> int:
        """Offset of the two zero blocks that end the archive."""
        listed = self.manifest.media_list
        return self._layout.content_end + (listed.archive_bytes if listed else 0)

    def _slots(
        self, on_not_carried: Callable[[ListedMedia], None] | None
    ) -> Iterator[tuple[Slot, ListedMedia | None]]:
        """Yield the offsets of the members after the manifest, and the entry of each media file."""
        slots, inline = self._layout.slots, sum(entry.carried for entry in self.manifest.media)
        others = slots[: len(slots) - inline]
        yield from ((slot, None) for slot in others[1:])
        position = others[-1].end
        for entry in self.listed_media():
            if entry.carried:
                slot = Slot.at(position, entry.member, entry.size_bytes, entry.sha256)
                yield slot, entry
                position = slot.end
            elif on_not_carried is not None:
                on_not_carried(entry)

    def read_to_the_end(self) -> None:
        """Check every unread byte and decompress the chunks; call it once.

        Raises:
            CorruptArchiveError: A byte differs from the manifest.
            UnreadableArchiveError: The disk fails.
        """
        tables = self.manifest.tables
        chunks = {c.member: c for t in tables for c in t.copy_members if c.carried}
        for slot, entry in self._slots(None):
            if entry is not None and slot.size_bytes <= _SMALL_MEMBER_BYTES:
                self._check_whole(slot)
                continue
            stream = self._stream(slot, entry)
            if slot.name in chunks:
                for _ in decompress_chunk(stream, chunks[slot.name]):
                    pass
            stream.finish()
        self._check_end()

    def _check_whole(self, slot: Slot) -> None:
        """Read and check a small member at once."""
        header = slot.header()
        member = memoryview(self._bytes.read(slot.end - slot.header_at, slot.name))
        start, end = len(header), len(header) + slot.size_bytes
        self._check_header(slot, header, bytes(member[:start]))
        if hashlib.sha256(member[start:end]).hexdigest() != slot.sha256:
            raise other_content(self.path, slot)
        if any(member[end:]):
            raise other_padding(self.path, slot)

    def _read_manifest(self, limits: ReadLimits) -> tuple[bytes, str]:
        header = self._bytes.read(MANIFEST_HEADER_BYTES, MANIFEST_MEMBER)
        facts = read_manifest_header(header)
        if facts is None:
            raise self._corrupt("it does not start with the header of a manifest", offset=0)
        size_bytes, sha256 = facts
        if size_bytes > limits.manifest_bytes:
            raise self._corrupt(f"the manifest is larger than {limits.manifest_bytes} bytes")
        content = self._bytes.read(size_bytes, MANIFEST_MEMBER)
        padding = self._bytes.read(padding_bytes(size_bytes), MANIFEST_MEMBER)
        if hashlib.sha256(content).hexdigest() != sha256 or any(padding):
            raise self._corrupt("the manifest is damaged (its sha256 differs)")
        return content, sha256

    def _check_name(self) -> None:
        expected = self.manifest.name
        if ArchiveName.parse(self.path.name) != expected:
            raise CorruptArchiveError(
                f"the file name differs from that of the archive in it, {expected.applied}",
                archive=self.path.name,
                remedy="delete the file if an archive of that name was applied or waits; else, if"
                " you know why its name differs, rename it with mv -n",
            )

    def _check_size(self) -> None:
        size_bytes = self._content_end + len(END_OF_ARCHIVE)
        difference = self.size_bytes - size_bytes
        if difference < 0:
            raise self._corrupt(f"truncated, {-difference} bytes are missing at its end")
        if difference > 0:
            raise self._corrupt(f"{difference} bytes too many at its end", offset=size_bytes)

    def _corrupt(
        self,
        fault: str,
        *,
        member: str | None = None,
        offset: int | None = None,
        remedy: str = USUAL_REMEDY,
    ) -> CorruptArchiveError:
        return CorruptArchiveError(
            fault, archive=self.path.name, member=member, offset=offset, remedy=remedy
        )
