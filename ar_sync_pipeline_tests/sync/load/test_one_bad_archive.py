"""One bad archive is rejected, whatever is wrong with it, and the others are loaded."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_quarantined, list_waiting
from ar_sync_pipeline.sync.load import admit, stage_archives
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_sites import (
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)
from ar_sync_pipeline_tests.sync.load.hostile_archives import Honest

Forge = Callable[[Honest], bytes]
CHANGE = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id < 10"
COPY_HEADER_BYTES = 19
INTEGER_BYTES = 4


def table(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(t for t in manifest["tables"] if t["name"] == name)
    return found


def in_chunk(**changes: Any) -> Forge:
    return lambda honest: honest.changed(
        lambda m: table(m, "app_parent")["chunks"][0].update(changes)
    )


def in_table(change: Callable[[dict[str, Any]], object]) -> Forge:
    return lambda honest: honest.changed(lambda m: change(table(m, "app_parent")))


def with_rows(change: Callable[[bytes], bytes], more_rows: int = 0) -> Forge:
    """Return a change of the parents' COPY stream, with all hashes and sizes valid."""

    def forge(honest: Honest) -> bytes:
        manifest = table(honest.manifest, "app_parent")
        (chunk,) = manifest["chunks"]
        raw = change(zstd.decompress(honest.members[chunk["member"]]))
        stored = zstd.compress(raw)
        changes = {
            "raw_bytes": len(raw),
            "size_bytes": len(stored),
            "sha256": hashlib.sha256(stored).hexdigest(),
            "row_count": chunk["row_count"] + more_rows,
        }

        def update(m: dict[str, Any]) -> None:
            table(m, "app_parent")["chunks"][0].update(changes)
            table(m, "app_parent")["row_count"] += more_rows

        made = Honest(honest.changed(update))
        return made.forged(made.manifest, {**honest.members, chunk["member"]: stored})

    return forge


def first_row(raw: bytes) -> bytes:
    """Return a parent: the number of columns, then each as its length and its bytes."""
    at = COPY_HEADER_BYTES + 2
    for _ in range(struct.unpack_from("!h", raw, COPY_HEADER_BYTES)[0]):
        at += 4 + max(0, struct.unpack_from("!i", raw, at)[0])
    return raw[COPY_HEADER_BYTES:at]


def first_key(raw: bytes, field: bytes) -> bytes:
    """Return the stream with another first key."""
    at = COPY_HEADER_BYTES + 2
    return raw[:at] + field + raw[at + 4 + INTEGER_BYTES :]


def field_of(length: int, content: bytes = b"") -> bytes:
    return struct.pack("!i", length) + content


HOSTILE: dict[str, Forge] = {
    "digest of other rows": in_chunk(digest="12345"),
    "digest beyond any": in_chunk(digest="9" * 40),
    "range that leaves out its rows": in_chunk(key_range={"low": 10**12, "high": 2 * 10**12}),
    "range of nothing": in_chunk(key_range={"low": 0, "high": 0}),
    "whole table and range": lambda h: h.changed(
        lambda m: table(m, "app_parent")["chunks"].append(
            {**table(m, "app_child")["chunks"][0], "key_range": None, "row_count": 0}
        )
    ),
    "table twice": lambda h: h.changed(
        lambda m: m["tables"].append(
            {**table(m, "app_parent"), "chunks": [], "row_count": 0, "sequences": []}
        )
    ),
    "same key twice": with_rows(
        lambda raw: raw[:-2] + first_row(raw) + raw[-2:],
        more_rows=1,
    ),
    "NULL as a key": with_rows(lambda raw: first_key(raw, field_of(-1))),
    "key too long": with_rows(lambda raw: first_key(raw, field_of(8, bytes(8)))),
    "field of more than 1 GB": with_rows(lambda raw: first_key(raw, field_of(2**30 + 1))),
    "field of less than nothing": with_rows(lambda raw: first_key(raw, field_of(-2))),
    "no rows but a number": with_rows(lambda _: b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff"),
    "nothing at all": with_rows(lambda _: b""),
    "text, no COPY": with_rows(lambda _: b"1\tc1\tlabel 1\n" * 50),
    "more behind the end": with_rows(lambda raw: raw + first_row(raw)),
    "more columns than there are": with_rows(
        lambda raw: raw[:COPY_HEADER_BYTES] + b"\x7f\xff" + raw[COPY_HEADER_BYTES + 2 :]
    ),
    "flags that nobody knows": with_rows(lambda raw: raw[:11] + b"\xff\xff\xff\xff" + raw[15:]),
    "extension of 1 GB": with_rows(lambda raw: raw[:15] + b"\x3f\xff\xff\xff" + raw[19:]),
    "value that is no text": with_rows(lambda raw: raw.replace(b"label 1", b"\xff\xfe\xfd\0abc")),
    "sequence beyond its type": in_table(lambda t: t["sequences"][0].update(last_value=2**63 - 1)),
    "other key": in_table(lambda t: t.update(primary_key=["code"])),
    "key of columns that are no key": in_table(lambda t: t.update(primary_key=["label"])),
    "no key": in_table(lambda t: t.update(primary_key=[])),
    "year 8999": lambda h: h.changed(
        lambda m: (
            m.update(snapshot_at="8999-01-01T00:00:00Z"),
            m["watermark"].update(snapshot_at="8999-01-01T00:00:00Z"),
        )
    ),
    "snapshot of many digits": lambda h: h.changed(
        lambda m: m["watermark"].update(snapshot=f"1:{'9' * 200}:")
    ),
    "position at the end of the log": lambda h: h.changed(
        lambda m: m["watermark"].update(lsn=2**64 - 1)
    ),
    "position of an id below one": lambda h: h.changed(
        lambda m: m["watermark"].update(traces="0c,0a,99999999999999999999c")
    ),
}
DRIFTED: dict[str, Forge] = {
    f"type {name}": in_table(lambda t, name=name: t["columns"][1].update(type=name))  # type: ignore[misc]
    for name in (
        "1x",
        "varchar(0)",
        "text DEFAULT 1",
        "text; DROP TABLE app_parent",
        "no_such_type",
        "numeric(1001)",
        "integer[][][][][][][]",
        "record",
        "regclass",
        "'",
        '"',
        "\u202etxet",
    )
}
DRIFTED |= {
    f"unknown column of type {name}": in_table(
        lambda t, name=name: t["columns"][2].update(name="unknown", type=name)  # type: ignore[misc]
    )
    for name in ("1x", "varchar(0)", "text DEFAULT 1", "no_such_type", "void", "anyelement")
}


@pytest.fixture
def spool_of_two(filled: TwoSites) -> tuple[TwoSites, Path, Honest]:
    """Return an equal receiver, a good partial that waits, and an honest complete."""
    filled.complete()
    filled.load()
    filled.at_sender(CHANGE, "UPDATE app_parent SET code = 'new' WHERE id = 1")
    (applied,) = (filled.spool / "complete").glob("backup_*")
    path = filled.complete(since=watermark_of(applied))
    honest = Honest(path.read_bytes())
    path.unlink()
    filled.partial(recent_window(), since=watermark_of(applied))
    return filled, path, honest


def rejected(sites: TwoSites) -> list[str]:
    found = [*list_parked(sites.spool), *list_quarantined(sites.spool)]
    return [str(read_reason(archive.path)) for archive in found]


@pytest.mark.long
@pytest.mark.parametrize("name", HOSTILE)
def test_bad_archive_is_rejected_and_the_good_ones_are_loaded(
    spool_of_two: tuple[TwoSites, Path, Honest], name: str
) -> None:
    sites, path, honest = spool_of_two
    path.write_bytes(HOSTILE[name](honest))
    _expect_good_state(sites)


@pytest.mark.long
@pytest.mark.parametrize("name", DRIFTED)
def test_archive_of_odd_columns_where_drift_is_ignored(
    spool_of_two: tuple[TwoSites, Path, Honest], name: str
) -> None:
    sites, path, honest = spool_of_two
    sites.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
    path.write_bytes(DRIFTED[name](honest))
    sites.load()
    assert list_waiting(sites.spool) == []
    assert equal(sites)
    sites.at_sender(CHANGE)
    sites.complete()
    sites.load()
    assert equal(sites)


def _expect_good_state(sites: TwoSites) -> None:
    report = sites.load()
    assert [str(loaded.manifest.kind) for loaded in report.loaded] == ["partial"]
    (reason,) = rejected(sites)
    assert reason.isprintable()
    assert len(reason) < 1500
    assert equal(sites)
    assert equal(sites, PARENTS)
    sites.at_sender(CHANGE)
    sites.complete()
    assert len(sites.load().loaded) == 1
    assert equal(sites)


def test_honest_one_is_loaded_all_the_same(
    spool_of_two: tuple[TwoSites, Path, Honest],
) -> None:
    """Otherwise the other tests would prove nothing."""
    sites, path, honest = spool_of_two
    made = with_rows(lambda raw: raw)(honest)
    path.write_bytes(made)
    assert len(sites.load().loaded) == 2
    assert rejected(sites) == []
    assert equal(sites)


@pytest.mark.long
@pytest.mark.parametrize(
    "error",
    [MemoryError(), RecursionError("deep"), KeyError("x"), ZeroDivisionError(), OSError(22)],
)
def test_failure_that_nobody_has_foreseen_is_that_of_the_archive(
    spool_of_two: tuple[TwoSites, Path, Honest], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    sites, path, honest = spool_of_two
    path.write_bytes(honest.content)
    stage = stage_archives.ArchiveStager.stage
    failing = Honest(honest.content).manifest["archive_id"]

    def fail(self: stage_archives.ArchiveStager, number: int, archive_id: object) -> Any:
        if str(archive_id) == failing:
            raise error
        return stage(self, number, archive_id)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(stage_archives.ArchiveStager, "stage", fail)
        report = sites.load()
    assert [str(loaded.manifest.kind) for loaded in report.loaded] == ["partial"]
    (reason,) = rejected(sites)
    assert type(error).__name__ in reason
    assert equal(sites)
    # Parked, not lost: the next load tries again.
    sites.load()
    assert rejected(sites) == []


@pytest.mark.long
def test_table_outside_the_catalog_is_never_written(
    spool_of_two: tuple[TwoSites, Path, Honest],
) -> None:
    """With any drift setting: names of tables come from the other side."""
    sites, path, honest = spool_of_two
    sites.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
    others = {
        "auth_user": "CREATE TABLE auth_user (LIKE app_parent INCLUDING ALL)",
        "django_migrations": "CREATE TABLE django_migrations (LIKE app_parent INCLUDING ALL)",
        "app_note": "ALTER TABLE app_note ADD code text, ADD label text",
        "ar_sync.allowed_archive": "SELECT 1",
        "pg_catalog.pg_class": "SELECT 1",
        "public.auth_user": "SELECT 1",
        "no_such_table": "SELECT 1",
    }
    sites.at_receiver(*others.values())
    before = rows(sites.receiver, "SELECT count(*) FROM ar_sync.allowed_archive")
    for number, name in enumerate(others):
        path.write_bytes(in_table(lambda t, name=name: t.update(name=name))(honest))  # type: ignore[misc]
        sites.load()
        assert list_waiting(sites.spool) == [], name
        for place in ("parked", "quarantine"):
            for left in (sites.spool / place).iterdir():
                left.unlink()
        assert rows(sites.receiver, "SELECT count(*) FROM auth_user") == [(0,)], number
        assert rows(sites.receiver, "SELECT count(*) FROM app_note") == [(0,)], number
    assert rows(sites.receiver, "SELECT count(*) FROM django_migrations") == [(0,)]
    assert rows(sites.receiver, "SELECT count(*) FROM ar_sync.allowed_archive") == before
    assert equal(sites)


def test_complete_in_quarantine_is_made_good_by_a_complete_only(filled: TwoSites) -> None:
    """The next partial carries no deletions."""
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender("DELETE FROM app_child WHERE id = 50")
    damage(filled.complete(since=base))
    assert len(filled.load().lost) == 1
    filled.partial(recent_window(), since=base)
    report = filled.load()
    assert len(report.loaded) == 1
    assert len(report.lost) == 1
    assert quarantined(filled) == (1, 1, "quarantined")
    filled.complete(since=base)
    assert filled.load().lost == ()
    assert equal(filled)
    assert quarantined(filled) == (0, 0, "quarantined, replaced")


def test_partial_in_quarantine_is_made_good_by_the_next_partial(filled: TwoSites) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    damage(filled.partial(recent_window(), since=base))
    assert len(filled.load().lost) == 1
    filled.partial(recent_window(), since=base)
    assert filled.load().lost == ()


def test_file_with_the_applied_name_does_not_replace_an_admitted_archive(filled: TwoSites) -> None:
    """A load of partials leaves it; a load of completes reads it before anything is renamed."""
    waiting = filled.complete()
    assert filled.admit().names
    content = waiting.read_bytes()
    forged = waiting.with_name(waiting.name.removeprefix("NEW_"))
    forged.write_bytes(bytes(len(content)))
    filled.admit([ArchiveKind.PARTIAL])
    assert waiting.read_bytes() == content
    assert forged.read_bytes() == bytes(len(content))
    assert len(filled.load().loaded) == 1
    assert forged.read_bytes() == content
    assert [found.path.read_bytes() for found in list_quarantined(filled.spool)] == [
        bytes(len(content))
    ]


def test_archives_that_vanish_while_they_are_checked_do_not_stop_the_others(
    spool_of_two: tuple[TwoSites, Path, Honest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender's account may remove what it has uploaded, at any moment."""
    sites, path, honest = spool_of_two
    path.write_bytes(honest.content)
    bad = path.with_name("NEW_backup_complete_20200101T000000.000000Z.tar")
    bad.write_bytes(b"no archive")
    for step, gone in (("reject", bad), ("unpark", path)):
        done = getattr(admit, step)

        def vanish(
            *args: Any, done: Callable[..., Any] = done, gone: Path = gone, **options: Any
        ) -> Any:
            if args[1].path == gone:
                gone.unlink()
            return done(*args, **options)

        monkeypatch.setattr(admit, step, vanish)
    report = sites.load()
    assert [str(loaded.manifest.kind) for loaded in report.loaded] == ["partial"]
    assert not bad.exists()
    assert not path.exists()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def quarantined(sites: TwoSites) -> tuple[int, int, str]:
    """Return the number by the checkpoint and by the status, and the state in the list."""
    checkpoint = Checkpoint.read(sites.spool, signing_keys=())
    assert checkpoint is not None
    status = receiver_status(sites.settings, sites.catalog, sites.clock())
    (count,) = (one.count for one in status.archives if one.state == "quarantined")
    (listed,) = view_ledger(sites.settings).unapplied
    return checkpoint.quarantined, count, listed.state


def test_function_of_a_check_that_raises_an_error_needs_no_grant_to_a_superuser(
    filled: TwoSites,
) -> None:
    since = watermark_of(filled.complete())
    filled.load()
    filled.at_receiver(
        "CREATE FUNCTION good(float8) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN"
        " IF $1 > 700 THEN RAISE EXCEPTION 'too large'; END IF; RETURN true; END$$",
        "ALTER TABLE app_child ADD CHECK (good(amount))",
    )
    filled.at_sender("UPDATE app_child SET amount = 900, changed = now() WHERE id = 3")
    filled.partial(recent_window(), since=since)
    (refused,) = filled.load().refused
    assert "too large; PL/pgSQL function good(double precision)" in refused.problem
    assert "what calls it for these rows, such as a CHECK constraint" in refused.remedy
    assert "GRANT" not in refused.remedy
