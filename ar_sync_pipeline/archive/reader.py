"""Reading an archive that may be hostile, cut or damaged: streamed, checked, never extracted.

No header is interpreted. The manifest, vouched for by its own header, determines every other
byte that is not content (`tar_layout`), so links, devices, escaping names, repeated or extra
members are all the same thing: bytes other than the expected ones. Content is held against its
sha256 while it streams. Memory is bounded by the manifest's limit, whatever the file holds.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.chunk_member import decompress_chunk
from ar_sync_pipeline.archive.errors import (
    USUAL_REMEDY,
    CorruptArchiveError,
    UnreadableArchiveError,
    UnsignedArchiveError,
)
from ar_sync_pipeline.archive.manifest import MANIFEST_MEMBER, Manifest, signature_of
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
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

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from typing_extensions import Buffer

__all__ = [
    "ArchiveReader",
    "MemberStream",
    "ReadLimits",
    "open_archive",
    "open_regular_file",
    "verify_archive",
]

_PIECE_BYTES = 1024 * 1024
_DEFAULT_LIMITS = ReadLimits()


@contextmanager
def open_archive(path: Path, limits: ReadLimits = _DEFAULT_LIMITS) -> Iterator[ArchiveReader]:
    """Open an archive; its manifest, its name and its size are checked before this returns.

    Args:
        path: a regular file under an archive's name, waiting or applied.
        limits: what to accept.

    Raises:
        UnreadableArchiveError: the file cannot be opened or read.
        CorruptArchiveError: the name, the manifest or the size is wrong.
    """
    with open_regular_file(path) as file:
        yield ArchiveReader(path, file, limits)


def verify_archive(
    path: Path, *, signing_keys: Collection[bytes] = (), limits: ReadLimits = _DEFAULT_LIMITS
) -> Manifest:
    """Read an archive to its last byte, decompress its chunks, and return its manifest.

    Args:
        path: the archive.
        signing_keys: those accepted; where there are any, the archive must carry the HMAC of one.
        limits: what to accept.

    Raises:
        UnreadableArchiveError: the file cannot be opened or read.
        UnsignedArchiveError: the signature is missing or wrong.
        CorruptArchiveError: any byte is not as the manifest says.
    """
    with open_archive(path, limits) as reader:
        reader.check_signature(signing_keys)
        reader.read_to_the_end()
        return reader.manifest


class ArchiveReader:
    """An open archive, read once from front to back; made by `open_archive`.

    Attributes:
        path: the file.
        size_bytes: of the file.
        manifest: already checked.
        manifest_sha256: of the manifest's bytes, which vouch for every other byte of the file.
    """

    def __init__(self, path: Path, file: io.BufferedReader, limits: ReadLimits) -> None:
        self.path = path
        self._bytes = _ArchiveBytes(path, file)
        self.size_bytes = self._bytes.size_bytes
        if self.size_bytes > limits.archive_bytes:
            raise self._corrupt(f"larger than {limits.archive_bytes} bytes")
        self._manifest_json, self.manifest_sha256 = self._read_manifest(limits)
        self.manifest = parse_manifest(self._manifest_json, limits, archive=path.name)
        self._check_name()
        self._layout = Layout.of(
            len(self._manifest_json), self.manifest_sha256, self.manifest.members()
        )
        self._check_size()

    def check_manifest(self, sha256: str) -> None:
        """Demand that this is the archive that was verified before, to the byte.

        Raises:
            CorruptArchiveError: its manifest is another one.
        """
        if self.manifest_sha256 != sha256:
            raise self._corrupt(
                "it is not what was verified under this name",
                remedy="find out who replaced it; what it held is sent again by itself",
            )

    def check_signature(self, keys: Collection[bytes]) -> None:
        """Demand that the manifest carries the HMAC of one of the keys, if there are any.

        Raises:
            UnsignedArchiveError: it carries none, or another one.
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

    def members(self) -> Iterator[tuple[str, MemberStream]]:
        """Each member behind the manifest, in the manifest's order, as (name, stream). Once.

        A stream is good until the next member is asked for; what was not read of it is then
        read and checked all the same. After the last member the archive's end is checked.

        Raises:
            CorruptArchiveError: bytes are not as the manifest says.
            UnreadableArchiveError: the disk fails.
        """
        for slot in self._layout.slots[1:]:
            expected = slot.header()
            if self._bytes.read(len(expected), slot.name) != expected:
                raise self._corrupt(
                    "another header than that of a regular file of this name and size",
                    member=slot.name,
                    offset=slot.header_at,
                )
            stream = MemberStream(slot, self._bytes)
            yield slot.name, stream
            stream.finish()
        if self._bytes.read(len(END_OF_ARCHIVE), None) != END_OF_ARCHIVE:
            raise self._corrupt("it does not end with zeros", offset=self._layout.content_end)

    def read_to_the_end(self) -> None:
        """Check every byte that is not read yet, and that the chunks can be decompressed. Once.

        Raises:
            CorruptArchiveError: a byte is not as the manifest says.
            UnreadableArchiveError: the disk fails.
        """
        chunks = {c.member: c for table in self.manifest.tables for c in table.copy_members}
        for name, stream in self.members():
            if name in chunks:
                for _ in decompress_chunk(stream, chunks[name]):
                    pass

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
            raise self._corrupt("the manifest is damaged (its sha256 is another one)")
        return content, sha256

    def _check_name(self) -> None:
        expected = self.manifest.name
        if ArchiveName.parse(self.path.name) != expected:
            raise CorruptArchiveError(
                f"the file's name is not that of the archive in it, {expected.applied}",
                archive=self.path.name,
                remedy="give the file the name of what it holds, if you know why it differs",
            )

    def _check_size(self) -> None:
        difference = self.size_bytes - self._layout.size_bytes
        if difference < 0:
            raise self._corrupt(f"cut, {-difference} bytes are missing at its end")
        if difference > 0:
            raise self._corrupt(
                f"{difference} bytes too many at its end", offset=self._layout.size_bytes
            )

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


class MemberStream(io.RawIOBase):
    """One member's content, checked against its sha256 when its last byte is read.

    Attributes:
        name: the member's name.
        size_bytes: of its content.
    """

    def __init__(self, slot: Slot, source: _ArchiveBytes) -> None:
        self.name = slot.name
        self.size_bytes = slot.size_bytes
        self._slot = slot
        self._source = source
        self._digest = hashlib.sha256()
        self._remaining_bytes = slot.size_bytes
        if slot.size_bytes == 0:
            self._check_content()

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill the buffer as far as the member goes; 0 at its end.

        Raises:
            CorruptArchiveError: with the last byte read the content's sha256 is another one.
        """
        if self.closed:
            raise ValueError("a member's stream ends when the next member is asked for")
        view = memoryview(buffer).cast("B")[: self._remaining_bytes]
        if not view:
            return 0
        count = self._source.readinto(view, self.name)
        self._digest.update(view[:count])
        self._remaining_bytes -= count
        if self._remaining_bytes == 0:
            self._check_content()
        return count

    def finish(self) -> None:
        """Read and check the rest, the padding too; the stream is of no use afterwards."""
        scratch = bytearray(min(_PIECE_BYTES, self._remaining_bytes))
        while self._remaining_bytes:
            self.readinto(scratch)
        if any(self._source.read(padding_bytes(self.size_bytes), self.name)):
            raise CorruptArchiveError(
                "its padding is not zeros",
                archive=self._source.path.name,
                member=self.name,
                offset=self._slot.data_end,
            )
        self.close()

    def _check_content(self) -> None:
        if self._digest.hexdigest() != self._slot.sha256:
            raise CorruptArchiveError(
                "its sha256 is another one than declared",
                archive=self._source.path.name,
                member=self.name,
                offset=self._slot.data_at,
            )


class _ArchiveBytes:
    """The file's bytes in order, where a failing disk or an early end is an error with a name."""

    def __init__(self, path: Path, file: io.BufferedReader) -> None:
        self.path = path
        self._file = file
        self.size_bytes = os.fstat(file.fileno()).st_size

    def read(self, size: int, member: str | None) -> bytes:
        """Exactly ``size`` bytes."""
        # A size from a hostile header is held against the file before memory is asked for.
        if size > self.size_bytes - self._file.tell():
            raise self._cut(member)
        try:
            content = self._file.read(size)
        except OSError as error:
            raise UnreadableArchiveError(self.path, error) from error
        if len(content) != size:
            raise self._cut(member)
        return content

    def readinto(self, view: memoryview, member: str) -> int:
        """At least one byte, up to the view's length."""
        try:
            count = self._file.readinto(view)
        except OSError as error:
            raise UnreadableArchiveError(self.path, error) from error
        if count == 0:
            raise self._cut(member)
        return count

    def _cut(self, member: str | None) -> CorruptArchiveError:
        return CorruptArchiveError(
            "the file ends too early",
            archive=self.path.name,
            member=member,
            offset=self._file.tell(),
        )
