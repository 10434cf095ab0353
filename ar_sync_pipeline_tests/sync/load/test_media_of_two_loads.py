"""A load that has lost its session, and so its lock, leaves the media files of the next load alone.

It notices that only when it talks to the database again, which may be minutes later.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from typing import Any
from uuid import uuid4

import pytest

from ar_sync_pipeline.media.durability import Durability
from ar_sync_pipeline.media.errors import MediaTakenOverError
from ar_sync_pipeline.media.install import rename_into_place
from ar_sync_pipeline.media.stage import MediaStage
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.postgres.ledger_tables import check_load_lock, load_lock
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.load import load_session
from ar_sync_pipeline.sync.load.media_of_load import staged_media
from ar_sync_pipeline_tests.archive.building import make_entry
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute

END_THE_LOAD = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = 'ar_sync load' AND datname = current_database()"
)
BEFORE = {"p.jpeg": b"first"}
AFTER = {"p.jpeg": b"second", "q.jpeg": b"new"}
LOST = {"p.jpeg": b"p of the lost load", "q.jpeg": b"q of the lost load"}


@pytest.fixture
def sites(filled: TwoSites) -> TwoSites:
    """Return equal sites with a media file; a complete brings another version and a new file."""
    (filled.sender_media / "p.jpeg").write_bytes(BEFORE["p.jpeg"])
    filled.complete()
    filled.load()
    for name, content in AFTER.items():
        (filled.sender_media / name).write_bytes(content)
    filled.at_sender("UPDATE app_child SET picture = 'q.jpeg', changed = now() WHERE id = 5")
    filled.complete()
    return filled


def media(sites: TwoSites) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sites.receiver_media.iterdir()}


class LoadAtWork:
    """A load with its lock and staged files."""

    def __init__(self, sites: TwoSites, files: Mapping[str, bytes] = LOST) -> None:
        self._sites = sites
        self._archive = uuid4()
        self._blocks = ExitStack()
        self.connection = self._blocks.enter_context(connect(sites.receiver, application="load"))
        self._blocks.enter_context(load_lock(self.connection))
        self.stage = self._blocks.enter_context(
            staged_media(self.connection, sites.settings, sites.catalog.name, [self._archive])
        )
        for name, content in files.items():
            self.add(name, content)

    def add(self, name: str, content: bytes) -> None:
        self.stage.stage(io.BytesIO(content), make_entry(name, content), self._archive)

    def lose_the_session(self) -> None:
        execute(self._sites.receiver, END_THE_LOAD)

    def rename_into_place(self) -> None:
        rename_into_place(
            self.stage, lambda _: nullcontext(), lambda: check_load_lock(self.connection)
        )

    def end(self) -> None:
        """Notice at the next statement that the session is lost."""
        with pytest.raises(DatabaseUnreachableError), self._blocks:
            self.connection.execute("SELECT 1")


def at_the_renames(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]
) -> None:
    """Do something just before, or after, a load renames its files into place."""

    def rename(*arguments: Any) -> None:
        before()
        rename_into_place(*arguments)
        after()

    monkeypatch.setattr(load_session, "rename_into_place", rename)


def nothing() -> None:
    pass


def test_lost_load_does_not_undo_what_the_next_one_renamed(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LoadAtWork(sites)
    lost.lose_the_session()
    at_the_renames(monkeypatch, nothing, after=lost.end)
    assert sites.load().loaded
    assert media(sites) == AFTER
    assert equal(sites)


def test_lost_load_does_not_delete_what_the_next_one_staged(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LoadAtWork(sites)
    lost.lose_the_session()
    at_the_renames(monkeypatch, lost.end, nothing)
    assert sites.load().loaded
    assert media(sites) == AFTER
    assert equal(sites)


def test_lost_load_does_not_install_what_the_next_one_staged(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install() -> None:
        with pytest.raises(DatabaseUnreachableError), lost_blocks(lost):
            lost.rename_into_place()
        assert {name: media(sites)[name] for name in BEFORE} == BEFORE

    lost = LoadAtWork(sites)
    lost.lose_the_session()
    at_the_renames(monkeypatch, install, nothing)
    assert sites.load().loaded
    assert media(sites) == AFTER
    assert equal(sites)


def lost_blocks(lost: LoadAtWork) -> ExitStack:
    return lost._blocks  # noqa: SLF001  they end with the error


def test_session_that_is_lost_while_files_become_durable_renames_nothing(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = Durability.flush

    def then_lose(self: Durability) -> None:
        flush(self)
        monkeypatch.setattr(Durability, "flush", flush)
        execute(sites.receiver, END_THE_LOAD)

    monkeypatch.setattr(Durability, "flush", then_lose)
    with pytest.raises(DatabaseUnreachableError):
        sites.load()
    assert {name: content for name, content in media(sites).items() if name[0] != "."} == BEFORE
    assert sites.load().loaded
    assert media(sites) == AFTER


@pytest.mark.parametrize("by", ["a person", "another load"])
def test_journal_that_is_gone_before_the_commit_keeps_the_rows_back(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    def remove() -> None:
        (journal,) = sites.receiver_media.glob(".ar-sync-*.journal")
        journal.unlink()
        if by == "another load":
            journal.write_text(f'["01234567-89abcdef", "{uuid4()}"]\n')

    at_the_renames(monkeypatch, remove, nothing)
    with pytest.raises(MediaTakenOverError, match="tried again"):
        sites.load()
    assert media(sites)["p.jpeg"] == b"first"
    assert len(list_waiting(sites.spool)) == 1
    monkeypatch.undo()
    assert sites.load().loaded
    assert media(sites) == AFTER


def test_file_that_a_lost_load_stages_at_last_is_no_fault_of_the_next_loads_archive(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LoadAtWork(sites, {})
    lost.lose_the_session()
    stage = MediaStage.stage

    def lost_first(self: MediaStage, *arguments: Any) -> Any:
        monkeypatch.setattr(MediaStage, "stage", stage)
        lost.add("r.jpeg", b"r of the lost load")
        return stage(self, *arguments)

    monkeypatch.setattr(MediaStage, "stage", lost_first)
    with pytest.raises(MediaTakenOverError):
        sites.load()
    lost.end()
    assert sites.load().loaded
    assert media(sites) == AFTER
