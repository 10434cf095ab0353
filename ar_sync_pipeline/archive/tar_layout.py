"""The bytes of a tar archive other than member content, as a function of the manifest.

Format 1 determines all of them: headers are POSIX ustar with pax records where a name or a size
needs them (POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"); owner, mode and
time are constant; two zero blocks end the file. So the writer knows the offset of each byte before
it reads a member, and the reader requires these bytes exactly instead of interpreting a hostile
header. They are not made by `tarfile`, because both sides must agree on them across versions of
Python.

The header of the manifest carries its sha256 in a pax ``comment`` record, which every tar ignores
silently. It shows a flipped bit in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ar_sync_pipeline.archive.manifest import MANIFEST_MEMBER

BLOCK = 512
END_OF_ARCHIVE = bytes(2 * BLOCK)
MANIFEST_HEADER_BYTES = 3 * BLOCK

_NAME_BYTES = 100
_OCTAL_SIZE_LIMIT = 8**11
# GNU tar warns of "an implausibly old time stamp" at 0; 1980-01-01 is what zip uses.
_MTIME = 315_532_800
_REGULAR, _EXTENDED = b"0", b"x"
_OWNER = b"0000644\0" + b"0000000\0" * 2  # mode, user id, group id
_TIME = b"%011o\0" % _MTIME
_TAIL = (bytes(100) + b"ustar\x0000").ljust(355, b"\0")  # no link, owner's name, device, prefix
_CONSTANT_SUM = sum(_OWNER) + sum(_TAIL) + sum(_TIME) + 8 * ord(" ")
_SIZE_FIELD = slice(2 * BLOCK + 124, 2 * BLOCK + 135)
_DIGEST_LABEL = b" comment=sha256:"


class Slot(NamedTuple):
    """Offsets of a member in the archive.

    Attributes:
        header_at: Offset of the header in bytes.
        data_at: Offset of the content in bytes.
    """

    name: str
    size_bytes: int
    sha256: str
    header_at: int
    data_at: int

    @classmethod
    def at(cls, position: int, name: str, size_bytes: int, sha256: str) -> Slot:
        """Lay out a member whose header begins at this offset."""
        data_end = position + member_bytes(name, size_bytes) - padding_bytes(size_bytes)
        return cls(name, size_bytes, sha256, position, data_end - size_bytes)

    @property
    def data_end(self) -> int:
        """Offset of the first byte after the content."""
        return self.data_at + self.size_bytes

    @property
    def end(self) -> int:
        """Offset of the first byte after the padding, where the next header begins."""
        return self.data_end + padding_bytes(self.size_bytes)

    def header(self) -> bytes:
        """Return all blocks before the content."""
        if self.header_at == 0:
            return manifest_header(self.size_bytes, self.sha256)
        return member_header(self.name, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets of all members, the manifest first, and the size of the archive."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(
        cls, manifest_bytes: int, manifest_sha256: str, members: Iterable[tuple[str, int, str]]
    ) -> Layout:
        """Lay out the manifest and the members, given as (name, size in bytes, sha256)."""
        slot = Slot(MANIFEST_MEMBER, manifest_bytes, manifest_sha256, 0, MANIFEST_HEADER_BYTES)
        slots = [slot]
        position = slot.end
        for name, size_bytes, sha256 in members:
            slot = Slot.at(position, name, size_bytes, sha256)
            slots.append(slot)
            position = slot.end
        return cls(tuple(slots))

    @property
    def content_end(self) -> int:
        """Offset of the two zero blocks that end the archive."""
        return self.slots[-1].end

    @property
    def size_bytes(self) -> int:
        """Size of the archive in bytes."""
        return self.content_end + len(END_OF_ARCHIVE)


def padding_bytes(size_bytes: int) -> int:
    """Return the number of zero bytes between content of this size and the next block."""
    return -size_bytes % BLOCK


def member_bytes(name: str, size_bytes: int) -> int:
    """Return the size of a member in the archive, with its header and padding."""
    plain = len(name) <= _NAME_BYTES and name.isascii() and size_bytes < _OCTAL_SIZE_LIMIT
    header = BLOCK if plain else len(member_header(name, size_bytes))
    return header + size_bytes + padding_bytes(size_bytes)


def member_header(name: str, size_bytes: int) -> bytes:
    """Return the header of a regular file, with a pax header where ustar has no space."""
    records = b""
    if len(name) > _NAME_BYTES or not name.isascii():
        records += _record(b"path", name.encode())
    if size_bytes >= _OCTAL_SIZE_LIMIT:
        records += _record(b"size", b"%d" % size_bytes)
    stored_size = size_bytes if size_bytes < _OCTAL_SIZE_LIMIT else 0
    header = _ustar(name.encode("ascii", "replace")[:_NAME_BYTES], stored_size, _REGULAR)
    return _pax(records) + header if records else header


def manifest_header(size_bytes: int, sha256: str) -> bytes:
    """Return the header of the manifest, `MANIFEST_HEADER_BYTES` long, with its sha256."""
    records = _record(b"comment", b"sha256:" + sha256.encode())
    return _pax(records) + _ustar(MANIFEST_MEMBER.encode(), size_bytes, _REGULAR)


def read_manifest_header(header: bytes) -> tuple[int, str] | None:
    """Return size in bytes and sha256 of the manifest; None if the header is any other."""
    size_field, comment = header[_SIZE_FIELD], header[BLOCK : 2 * BLOCK]
    _, label, rest = comment.partition(_DIGEST_LABEL)
    digest = rest[:64]
    if not label or not set(digest) <= set(b"0123456789abcdef"):
        return None
    if len(size_field) != _SIZE_FIELD.stop - _SIZE_FIELD.start:
        return None
    if not set(size_field) <= set(b"01234567"):
        return None
    size_bytes, sha256 = int(size_field, 8), digest.decode()
    return (size_bytes, sha256) if header == manifest_header(size_bytes, sha256) else None


def _record(keyword: bytes, value: bytes) -> bytes:
    # The length includes its own digits, which may make it longer by one.
    body = b" " + keyword + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d" % length + body


def _pax(records: bytes) -> bytes:
    header = _ustar(b"././@PaxHeader", len(records), _EXTENDED)
    return header + records + bytes(padding_bytes(len(records)))


def _ustar(name: bytes, size_bytes: int, kind: bytes) -> bytes:
    size = b"%011o\0" % size_bytes
    # Only these three vary; an archive of 60,000 media files needs this sum 200,000 times.
    checksum = _CONSTANT_SUM + sum(name) + sum(size) + sum(kind)
    fields = (name.ljust(_NAME_BYTES, b"\0"), _OWNER, size, _TIME, b"%06o\0 " % checksum)
    return b"".join((*fields, kind, _TAIL))
