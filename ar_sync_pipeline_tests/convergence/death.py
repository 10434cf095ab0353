"""The points at which a run kills itself; what is patched is patched in a child process only."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import psycopg

from ar_sync_pipeline.media.install import ReadableStream
from ar_sync_pipeline.sync import dump_tables, load, load_session, publish, stage_archives

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "shutil.rmtree"})


def die(*_: object, **__: object) -> NoReturn:
    """As ``kill -9``, or as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_at_step(number: int) -> None:
    """Count what reaches the database or changes the disk; die before the step of this number."""
    steps = iter(range(1, number))

    def step() -> None:
        if next(steps, None) is None:
            die()

    wait = psycopg.Connection.wait

    def counted_wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        step()
        return wait(self, *args, **kwargs)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        opens_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if event in _CHANGES or opens_to_write:
            step()

    psycopg.Connection.wait = counted_wait  # type: ignore[method-assign]
    sys.addaudithook(hook)


def _before_staging() -> None:
    stage_archives.ArchiveStager.stage = die  # type: ignore[method-assign]


def _in_the_middle_of_a_copy() -> None:
    decompress: Callable[..., Iterable[bytes]] = stage_archives.decompress_chunk

    def half(*args: Any) -> Iterator[bytes]:
        data = b"".join(decompress(*args))
        yield data[: len(data) // 2]
        die()

    stage_archives.decompress_chunk = half  # type: ignore[assignment]


def _before_the_commit() -> None:
    record: Callable[..., None] = load_session.record

    def last_statement(*args: Any, **kwargs: Any) -> None:
        record(*args, **kwargs)
        die()

    load_session.record = last_statement


def _between_commit_and_renaming() -> None:
    load.mark_applied = die


def _between_renaming_and_receipt() -> None:
    load.acknowledge = die


class _Half:
    """The first half of a stream, and then death."""

    def __init__(self, stream: ReadableStream, size_bytes: int) -> None:
        self._stream = stream
        self._left = size_bytes // 2

    def read(self, _: int = -1, /) -> bytes | None:
        if not self._left:
            die()
        size, self._left = self._left, 0
        return self._stream.read(size)


def _in_the_middle_of_a_picture() -> None:
    install = stage_archives.install_media

    def half(stream: ReadableStream, entry: Any, folder: Any) -> Any:
        return install(_Half(stream, entry.size_bytes), entry, folder)

    stage_archives.install_media = half


def _in_the_middle_of_a_dump() -> None:
    copy_out: Callable[..., int] = dump_tables.copy_out

    class Sink:
        def __init__(self, sink: Any) -> None:
            self._sink = sink

        def write(self, data: bytes) -> int:
            self._sink.write(data[: len(data) // 2])
            return die()

    dump_tables.copy_out = lambda connection, query, sink: copy_out(
        connection, query, Sink(sink)
    )


def _before_publishing() -> None:
    publish.publish_with_retries = die


def _in_the_middle_of_the_upload() -> None:
    upload: Callable[..., Any] = publish.publish_with_retries
    publish.publish_with_retries = lambda *args, **names: upload(*args, progress=die, **names)


LOAD_POINTS: dict[str, Callable[[], None]] = {
    "before staging": _before_staging,
    "in the middle of a copy": _in_the_middle_of_a_copy,
    "in the middle of a picture": _in_the_middle_of_a_picture,
    "before the commit": _before_the_commit,
    "between commit and renaming": _between_commit_and_renaming,
    "between renaming and receipt": _between_renaming_and_receipt,
}
DUMP_POINTS: dict[str, Callable[[], None]] = {
    "in the middle of a copy out": _in_the_middle_of_a_dump,
    "before publishing": _before_publishing,
    "in the middle of the upload": _in_the_middle_of_the_upload,
}
