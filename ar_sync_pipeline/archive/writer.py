"""A virtual tar over a manifest and its members, which exists only while it is read.

The members are already on disk (chunks in the scratch folder, media files in theirs); copying them
would take as much disk space as all media files of production. The manifest determines the offset
of every byte (`tar_layout`), so the stream can be read from any offset, as the resumption of an
interrupted upload requires.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ar_sync_pipeline.archive.errors import MemberChangedError
from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.media_members import MediaFiles, MediaMembers
from ar_sync_pipeline.archive.member_names import manifest_names_problem
from ar_sync_pipeline.archive.tar_layout import END_OF_ARCHIVE, Layout, Slot, padding_bytes
from ar_sync_pipeline.files import sync_folder
from ar_sync_pipeline.progress import report_progress

if TYPE_CHECKING:
    # Of the standard library from Python 3.12; not a dependency of this package.
    from typing_extensions import Buffer

_READ_BYTES = 1024 * 1024


class ArchiveSource:
    """An archive that can be streamed to its destination.

    Args:
        manifest: Manifest of the archive, already signed if it is to be signed.
        members: File of each member that the manifest lists.
        stamps: Stamps of files whose content was hashed. A file with an equal stamp is not hashed
            again while it is read.
        media: Files of the media list, if the manifest has one; they are not in ``members``.

    Attributes:
        fingerprint: SHA-256 of the manifest in hex, which determines every byte of the archive.
        stamps: Stamps of hashed files, by member, without the files of a media list.

    Raises:
        ValueError: The members differ from those of the manifest, or have wrong names.
    """

    def __init__(
        self,
        manifest: Manifest,
        members: Mapping[str, Path],
        *,
        stamps: Mapping[str, FileStamp] | None = None,
        media: MediaFiles | None = None,
    ) -> None:
        problem = manifest_names_problem(manifest)
        if problem is not None:
            raise ValueError(problem)
        listed = manifest.members()
        if members.keys() != {name for name, _, _ in listed}:
            raise ValueError("the members given are not those that the manifest lists")
        self.manifest = manifest
        self._members = members
        self.stamps = stamps or {}
        self._manifest_json = manifest.to_json()
        self.fingerprint = hashlib.sha256(self._manifest_json).hexdigest()
        self._layout = Layout.of(len(self._manifest_json), self.fingerprint, listed)
        if (manifest.media_list is None) != (media is None):
            raise ValueError("the files of a media list are given without it, or it without them")
        self._media = None
        if manifest.media_list is not None and media is not None:
            end = self._layout.content_end
            self._media = MediaMembers(manifest.media_list, media, end)

    @property
    def size_bytes(self) -> int:
        """Size of the whole archive."""
        return self._content_end + len(END_OF_ARCHIVE)

    @property
    def head(self) -> bytes:
        """Header and content of the manifest, which contains the hashes of everything after it."""
        return self._layout.slots[0].header() + self._manifest_json

    @property
    def identity(self) -> bytes:
        """The archive's id as its manifest says it, in the head of any version and signature."""
        return f'"archive_id":"{self.manifest.archive_id}"'.encode()

    @property
    def manifest_bytes(self) -> int:
        """Size of the manifest in bytes."""
        return len(self._manifest_json)

    @property
    def _content_end(self) -> int:
        return self._layout.content_end if self._media is None else self._media.end

    def slots_from(self, offset: int) -> Iterator[_Member]:
        """Yield the members from the one on that contains an offset, with their files."""
        slots = self._layout.slots
        first = bisect.bisect_right(slots, offset, key=lambda slot: slot.header_at) - 1
        for slot in slots[first:]:
            if slot.end > offset:
                path = self._members.get(slot.name) if slot.header_at else None
                yield _Member(slot, path, self.stamps.get(slot.name))
        if self._media is not None:
            for slot, file in self._media.from_offset(max(offset, self._media.start)):
                yield _Member(slot, file.location, file.stamp)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole archive in hex; reads the archive once unless it was written.

        Raises:
            MemberChangedError: See `open`.
        """
        digest = hashlib.sha256()
        for block in self._segments():
            digest.update(block)
        return digest.hexdigest()

    def open(self) -> BinaryIO:
        """Return a seekable stream of the archive; memory and open files do not grow with it.

        Reading raises `MemberChangedError` before the last byte of a member that differs from the
        manifest, so no archive is ever complete with wrong content. The stream cannot be used
        after that.
        """
        tar = _VirtualTar(self.slots_from, self._manifest_json, self._content_end)
        return io.BufferedReader(tar, buffer_size=_READ_BYTES)

    def write_to(self, path: Path) -> None:
        """Write the archive to a file atomically.

        Raises:
            MemberChangedError: See `open`.
        """
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        digest = hashlib.sha256()
        try:
            with partial.open("xb") as file:
                for block in self._segments():
                    file.write(block)
                    report_progress()
                    digest.update(block)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)
        self.sha256 = digest.hexdigest()

    def _segments(self) -> Iterator[bytes]:
        with self.open() as stream:
            while block := stream.read(_READ_BYTES):
                yield block


class _Member(NamedTuple):
    """A member, its file (None: the manifest), and the stamp of the file when it was hashed."""

    slot: Slot
    path: Path | str | None
    stamp: FileStamp | None


class _VirtualTar(io.RawIOBase):
    """Raw stream that `ArchiveSource.open` buffers."""

    def __init__(
        self,
        members_from: Callable[[int], Iterator[_Member]],
        manifest_json: bytes,
        content_end: int,
    ) -> None:
        self._members_from = members_from
        self._manifest_json = manifest_json
        self._content_end = content_end
        self._size_bytes = content_end + len(END_OF_ARCHIVE)
        self._position = 0
        self._members: Iterator[_Member] = iter(())
        self._at: _Member | None = None
        self._opened: _CheckedMember | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        bases = {
            os.SEEK_SET: 0,
            os.SEEK_CUR: self._position,
            os.SEEK_END: self._size_bytes,
        }
        position = bases[whence] + offset
        if position < 0:
            raise ValueError(f"cannot seek to {position}")
        self._position = position
        if self._at is not None and not self._at.slot.header_at <= position < self._at.slot.end:
            self._at = None
        return position

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._position < self._size_bytes:
            count = self._read_segment(view[filled:])
            filled += count
            self._position += count
        return filled

    def close(self) -> None:
        self._leave_member()
        super().close()

    def _read_segment(self, view: memoryview) -> int:
        """Fill the view from the header, content or padding at the current position."""
        if self._position >= self._content_end:
            return _copy(END_OF_ARCHIVE, self._position - self._content_end, view)
        member = self._current()
        slot = member.slot
        if self._position == slot.header_at and slot.end - slot.header_at <= len(view):
            return self._read_whole(member, view)
        if self._position < slot.data_at:
            if slot.size_bytes == 0:
                self._enter(member)
            return _copy(slot.header(), self._position - slot.header_at, view)
        if self._position >= slot.data_end:
            padding = bytes(padding_bytes(slot.size_bytes))
            return _copy(padding, self._position - slot.data_end, view)
        if member.path is None:
            return _copy(self._manifest_json, self._position - slot.data_at, view)
        return self._enter(member).read_into(self._position - slot.data_at, view)

    def _read_whole(self, member: _Member, view: memoryview) -> int:
        """Fill the view with a member that it has space for: most media files are small."""
        slot = member.slot
        size_bytes, start, end = slot.end - slot.header_at, slot.data_at, slot.data_end
        view[: start - slot.header_at] = slot.header()
        content = view[start - slot.header_at : end - slot.header_at]
        if member.path is None:
            content[:] = self._manifest_json
        else:
            checked, filled = self._enter(member), 0
            while filled < slot.size_bytes:
                filled += checked.read_into(filled, content[filled:])
            self._leave_member()
        view[end - slot.header_at : size_bytes] = bytes(slot.end - end)
        return size_bytes

    def _current(self) -> _Member:
        """Return the member at the current position."""
        if self._at is None:
            self._members = self._members_from(self._position)
            self._at = next(self._members)
        elif self._position >= self._at.slot.end:
            self._at = next(self._members)
        return self._at

    def _enter(self, member: _Member) -> _CheckedMember:
        if self._opened is None or self._opened.slot is not member.slot:
            self._leave_member()
            assert member.path is not None  # noqa: S101  it is not the manifest
            self._opened = _CheckedMember(member.slot, member.path, member.stamp)
        return self._opened

    def _leave_member(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class _CheckedMember:
    """File of a member, checked by its stamp, or hashed while it is read if it has none.

    Everything before the first read is hashed first, so the check at the end covers the whole
    member.
    """

    def __init__(self, slot: Slot, path: Path | str, stamp: FileStamp | None) -> None:
        self.slot = slot
        self._stamp = stamp
        self._path = path
        self._digest = hashlib.sha256()
        self._position = 0
        # O_NONBLOCK: a named pipe of this name must not block the sender.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise self._changed(f"it cannot be opened ({error.strerror})") from error
        try:
            self._check_file()
        except BaseException:
            self.close()
            raise

    def read_into(self, offset: int, view: memoryview) -> int:
        """Read bytes from ``offset`` of the member into the view."""
        if offset != self._position:
            self._move_to(offset)
        return self._read(view[: self.slot.size_bytes - offset])

    def close(self) -> None:
        os.close(self._fd)

    def _check_file(self) -> None:
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode):
            raise self._changed("it is no longer a regular file")
        if facts.st_size != self.slot.size_bytes:
            raise self._changed(
                f"it has {facts.st_size} bytes where {self.slot.size_bytes} were declared"
            )
        if self._stamp is not None and self._stamp != FileStamp.of(facts):
            self._stamp = None
        if self.slot.size_bytes == 0 and self._digest.hexdigest() != self.slot.sha256:
            raise self._changed("it is empty and was declared otherwise")

    def _move_to(self, offset: int) -> None:
        if self._stamp is not None:
            self._position = os.lseek(self._fd, offset, os.SEEK_SET)
            return
        if offset < self._position:
            self._digest = hashlib.sha256()
            self._position = os.lseek(self._fd, 0, os.SEEK_SET)
        scratch = memoryview(bytearray(min(_READ_BYTES, offset)))
        while self._position < offset:
            self._read(scratch[: offset - self._position])

    def _read(self, view: memoryview) -> int:
        try:
            count = os.readv(self._fd, [view])
        except OSError as error:
            raise self._changed(f"it cannot be read ({error.strerror})") from error
        if count == 0:
            raise self._changed(f"it ends after {self._position} bytes")
        self._position += count
        if self._stamp is None:
            self._digest.update(view[:count])
        if self._position == self.slot.size_bytes:
            self._check_content()
        return count

    def _check_content(self) -> None:
        if self._stamp is not None:
            if FileStamp.of(os.fstat(self._fd)) != self._stamp:
                raise self._changed("it was written to while it was read")
        elif self._digest.hexdigest() != self.slot.sha256:
            raise self._changed("its sha256 differs")

    def _changed(self, change: str) -> MemberChangedError:
        return MemberChangedError(self.slot.name, Path(self._path), change)


def _copy(source: bytes, start: int, view: memoryview) -> int:
    block = source[start : start + len(view)]
    view[: len(block)] = block
    return len(block)
