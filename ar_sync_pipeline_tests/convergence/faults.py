"""The points at which a run kills itself; what is patched is patched in a child process only."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

import psycopg

from ar_sync_pipeline.archive.chunk_member import ReadableStream
from ar_sync_pipeline.export import table_export, whole_tables
from ar_sync_pipeline.media import install
from ar_sync_pipeline.media.stage import MediaStage
from ar_sync_pipeline.postgres.copy_stream import ByteSink
from ar_sync_pipeline.sync.dump import publish
from ar_sync_pipeline.sync.load import (
    load_archives,
    load_record,
    load_session,
    media_of_load,
    stage_archives,
)

Function = Callable[..., Any]
_CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"})


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


def _patch(module: ModuleType, name: str, around: Callable[[Function], Function]) -> None:
    setattr(module, name, around(getattr(module, name)))


def _before_staging() -> None:
    _patch(stage_archives, "open_archive", lambda _: die)


def _in_the_middle_of_a_copy() -> None:
    def half(decompress: Function) -> Function:
        def blocks(*args: Any) -> Iterator[bytes]:
            data = b"".join(decompress(*args))
            yield data[: len(data) // 2]
            die()

        return blocks

    _patch(stage_archives, "decompress_chunk", half)


def _before_the_commit() -> None:
    def last_statement(record: Function) -> Function:
        def statement(*args: Any, **names: Any) -> None:
            record(*args, **names)
            die()

        return statement

    _patch(load_record, "record", last_statement)


def _between_commit_and_renaming() -> None:
    _patch(load_archives, "mark_applied", lambda _: die)


def _between_renaming_and_receipt() -> None:
    _patch(load_archives, "acknowledge", lambda _: die)


class _Half:
    """The first half of a stream; then the process kills itself."""

    def __init__(self, stream: ReadableStream, size_bytes: int) -> None:
        self._stream = stream
        self._left = size_bytes // 2

    def read(self, _: int = -1, /) -> bytes | None:
        if not self._left:
            die()
        size, self._left = self._left, 0
        return self._stream.read(size)


def _in_the_middle_of_a_picture() -> None:
    stage = MediaStage.stage

    def half(self: MediaStage, stream: ReadableStream, entry: Any, archive_id: Any) -> Any:
        return stage(self, _Half(stream, entry.size_bytes), entry, archive_id)

    MediaStage.stage = half  # type: ignore[method-assign]


def _second_call_dies(real: Function) -> Function:
    calls = iter([real])

    def called(*args: Any) -> Any:
        return next(calls, die)(*args)

    return called


def _between_two_pictures() -> None:
    _patch(install, "_put", _second_call_dies)


def _between_pictures_and_commit() -> None:
    def then_die(rename_into_place: Function) -> Function:
        def all_of_them(*args: Any) -> None:
            rename_into_place(*args)
            die()

        return all_of_them

    _patch(load_session, "rename_into_place", then_die)


def _between_commit_and_the_end_of_pictures() -> None:
    # The first call is for what an earlier load left.
    _patch(media_of_load, "finish_or_undo", _second_call_dies)


class _DyingSink:
    """Takes the first half of what comes, and then dies."""

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink

    def write(self, data: bytes) -> int:
        self._sink.write(data[: len(data) // 2])
        die()


def _in_the_middle_of_a_copy_out() -> None:
    def half(copy_out: Function) -> Function:
        return lambda connection, query, sink: copy_out(connection, query, _DyingSink(sink))

    for module in (table_export, whole_tables):
        _patch(module, "copy_out", half)
    _patch(table_export, "copy_out_digested", half)


def _before_publishing() -> None:
    _patch(publish, "publish_with_retries", lambda _: die)


def _in_the_middle_of_the_upload() -> None:
    # In place of the caller's own `progress`.
    def dying(upload: Function) -> Function:
        return lambda *given, **named: upload(*given, **(named | {"progress": die}))

    _patch(publish, "publish_with_retries", dying)


LOAD_POINTS: dict[str, Callable[[], None]] = {
    "before staging": _before_staging,
    "in the middle of a copy": _in_the_middle_of_a_copy,
    "in the middle of a picture": _in_the_middle_of_a_picture,
    "before the commit": _before_the_commit,
    "between two pictures": _between_two_pictures,
    "between pictures and commit": _between_pictures_and_commit,
    "between commit and the end of pictures": _between_commit_and_the_end_of_pictures,
    "between commit and renaming": _between_commit_and_renaming,
    "between renaming and receipt": _between_renaming_and_receipt,
}
DUMP_POINTS: dict[str, Callable[[], None]] = {
    "in the middle of a copy out": _in_the_middle_of_a_copy_out,
    "before publishing": _before_publishing,
    "in the middle of the upload": _in_the_middle_of_the_upload,
}
