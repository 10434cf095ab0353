"""The gate: archives that do not match yet wait and load later; foreign ones never load."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import NEWEST_FORMAT, SenderIdentity
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_quarantined
from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    recent_window,
    remake,
    watermark_of,
)

MIGRATIONS = "CREATE TABLE django_migrations (app text, name text)"


@pytest.mark.long
@pytest.mark.parametrize(
    ("receiver_lacks", "said", "action", "repaired"),
    [
        (
            "ALTER TABLE app_child DROP amount",
            "the receiver lacks column app_child.amount",
            "migrate the receiver, or the sender",
            "ALTER TABLE app_child ADD amount double precision",
        ),
        (
            "ALTER TABLE app_child ALTER amount TYPE numeric",
            "app_child.amount is double precision at the sender and numeric at the receiver",
            "migrate the receiver, or the sender",
            "ALTER TABLE app_child ALTER amount TYPE double precision",
        ),
        (
            "ALTER TABLE app_child ALTER amount SET NOT NULL",
            "app_child.amount may be NULL at the sender, not at the receiver",
            "migrate the sender, too",
            "ALTER TABLE app_child ALTER amount DROP NOT NULL",
        ),
        (
            "ALTER TABLE app_child ADD score integer NOT NULL",
            "app_child.score needs a value that the sender lacks",
            "migrate the sender",
            "ALTER TABLE app_child ALTER score SET DEFAULT 0",
        ),
        (
            "ALTER TABLE app_child RENAME TO other",
            "the receiver has no table app_child",
            "migrate the receiver",
            "ALTER TABLE other RENAME TO app_child",
        ),
        (
            "ALTER TABLE app_child RENAME TO other; CREATE VIEW app_child AS SELECT * FROM other",
            "the receiver has no table app_child, but a view of this name",
            "migrate the receiver",
            "DROP VIEW app_child; ALTER TABLE other RENAME TO app_child",
        ),
        (
            "INSERT INTO django_migrations VALUES ('small', '0001'), ('other', '0002')",
            "the sender has migration 0002, the receiver has not",
            "migrate the receiver",
            "INSERT INTO django_migrations VALUES ('small', '0002')",
        ),
        (
            "ALTER TABLE app_child DROP amount, ADD amount float GENERATED ALWAYS AS (id) STORED",
            "app_child.amount is computed at the receiver",
            "migrate the sender",
            "ALTER TABLE app_child ALTER amount DROP EXPRESSION",
        ),
    ],
)
def test_archive_waits_for_the_schema_and_is_loaded_by_itself(
    filled: TwoSites, receiver_lacks: str, said: str, action: str, repaired: str
) -> None:
    filled.catalog = filled.catalog.model_copy(update={"django_app": "small"})
    filled.at_sender(
        MIGRATIONS, "INSERT INTO django_migrations VALUES ('small', '0001'), ('small', '0002')"
    )
    filled.at_receiver(MIGRATIONS, receiver_lacks)
    filled.complete()
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    reason = read_reason(parked.path)
    assert reason is not None
    assert said in reason.reason
    assert reason.remedy.startswith(action)
    filled.load()
    kept = read_reason(parked.path)
    assert kept is not None
    assert (kept.since, kept.at > kept.since) == (reason.since, True)
    filled.at_receiver(repaired)
    assert len(filled.load().loaded) == 1
    assert list_parked(filled.spool) == []
    assert equal(filled)


@pytest.mark.long
@pytest.mark.parametrize(
    ("sender_first", "said", "receiver_then"),
    [
        ("ALTER amount DROP NOT NULL", "app_child.amount may be NULL at the sender",
         "ALTER amount DROP NOT NULL"),
        ("DROP amount", "app_child.amount needs a value that the sender lacks",
         "ALTER amount DROP NOT NULL"),
        ("DROP amount", "app_child.amount needs a value that the sender lacks", "DROP amount"),
    ],
)  # fmt: skip
def test_archive_of_a_sender_that_was_migrated_first_waits_for_the_receivers_migration(
    filled: TwoSites, sender_first: str, said: str, receiver_then: str
) -> None:
    for migrated in (filled.at_sender, filled.at_receiver):
        migrated(
            "UPDATE app_child SET amount = 0 WHERE amount IS NULL",
            "ALTER TABLE app_child ALTER amount SET NOT NULL",
        )
    since = watermark_of(filled.complete())
    assert len(filled.load().loaded) == 1
    filled.at_sender(f"ALTER TABLE app_child {sender_first}")
    filled.partial(recent_window(), since=since)
    with open_archive(filled.complete()) as archive:
        newest = archive.manifest
    assert filled.load().loaded == ()
    for parked in list_parked(filled.spool):
        reason = read_reason(parked.path)
        assert reason is not None
        assert said in reason.reason
        assert "otherwise migrate the receiver (DROP NOT NULL" in reason.remedy
        assert "the archive is loaded by itself" in reason.remedy
    checked = check_receiver(filled.receiver, filled.catalog, newest)
    (remedy,) = [found.remedy for found in checked if said in found.problem]
    assert remedy.startswith("migrate the side that is behind")
    filled.at_receiver(f"ALTER TABLE app_child {receiver_then}")
    assert filled.load().loaded
    assert list_parked(filled.spool) == []


def test_column_that_takes_null_before_the_sender_drops_it_parks_nothing(filled: TwoSites) -> None:
    """The order that docs/upgrade.md names for a change that removes."""
    for migrated in (filled.at_sender, filled.at_receiver):
        migrated("ALTER TABLE app_child ADD score integer NOT NULL DEFAULT 1")
        migrated("ALTER TABLE app_child ALTER score DROP DEFAULT")
    filled.complete()
    assert len(filled.load().loaded) == 1
    filled.at_receiver("ALTER TABLE app_child ALTER score DROP NOT NULL")
    filled.at_sender("ALTER TABLE app_child DROP score")
    filled.complete()
    assert len(filled.load().loaded) == 1


COMPUTED = "ALTER TABLE app_child DROP amount, ADD amount float GENERATED ALWAYS AS (id) STORED"


DROPPED = "ALTER TABLE app_child DROP amount"


@pytest.mark.parametrize(
    ("kind", "repaired"),
    [(ArchiveKind.COMPLETE, COMPUTED), (ArchiveKind.PARTIAL, COMPUTED),
     (ArchiveKind.PARTIAL, DROPPED)],
)  # fmt: skip
def test_column_that_only_the_sender_computes_waits_for_the_receiver(
    filled: TwoSites, kind: ArchiveKind, repaired: str
) -> None:
    """No archive has its values: the receiver's would stay as they were."""
    since = watermark_of(filled.complete())
    assert filled.load().unverified == ()
    filled.at_sender(COMPUTED)
    if kind is ArchiveKind.COMPLETE:
        filled.complete()
    else:
        filled.partial(recent_window(), since=since)
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    reason = read_reason(parked.path)
    assert reason is not None
    assert "app_child.amount is computed at the sender and stored at the receiver" in reason.reason
    assert "`receiver_columns` of the catalog" in reason.reason
    assert reason.remedy.startswith("migrate the receiver")
    filled.at_receiver(repaired)
    report = filled.load()
    assert (len(report.loaded), report.unverified) == (1, ())
    assert repaired == DROPPED or equal(filled)


def test_column_that_the_receiver_names_as_its_own_may_be_computed_at_the_sender(
    filled: TwoSites,
) -> None:
    filled.at_sender(COMPUTED)
    filled.complete()
    rules = filled.catalog.rules("app_child").model_copy(update={"receiver_columns": ("amount",)})
    tables = {**filled.catalog.table, "app_child": rules}
    filled.catalog = filled.catalog.model_copy(update={"table": tables})
    assert len(filled.load().loaded) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER amount SET NOT NULL", "app_child.amount may be NULL at the sender"),
        ("ADD score integer NOT NULL", "app_child.score needs a value that the sender lacks"),
        (
            "DROP amount, ADD amount float GENERATED ALWAYS AS (id) STORED",
            "app_child.amount is computed at the receiver",
        ),
    ],
)
def test_check_names_a_column_that_refuses_the_rows_of_the_newest_archive(
    filled: TwoSites, change: str, said: str
) -> None:
    with open_archive(filled.complete()) as archive:
        newest = archive.manifest
    before = check_receiver(filled.receiver, filled.catalog, newest)
    filled.at_receiver(f"ALTER TABLE app_child {change}")
    after = check_receiver(filled.receiver, filled.catalog, newest)
    (found,) = set(after) - set(before)
    assert said in found.problem
    assert "archives are parked" in found.problem


def test_archive_of_a_newer_version_waits_until_this_side_is_upgraded(
    filled: TwoSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remake(filled.complete(), tmp_path / "remade", format=NEWEST_FORMAT + 1)
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    assert f"in format {NEWEST_FORMAT + 1} where this one reads up to {NEWEST_FORMAT}" in str(
        read_reason(parked.path)
    )
    known = "ar_sync_pipeline.archive.manifest_reader.NEWEST_FORMAT"
    monkeypatch.setattr(known, NEWEST_FORMAT + 1)
    assert len(filled.load().loaded) == 1
    assert equal(filled)


def test_values_that_name_objects_of_the_senders_database(filled: TwoSites) -> None:
    """The number of a table in the catalogs of one database means another object in the other."""
    filled.at_sender("CREATE TABLE named (id integer)")
    filled.at_receiver("CREATE TABLE another (id integer)", "CREATE TABLE named (id integer)")
    for change in (filled.at_sender, filled.at_receiver):
        change("ALTER TABLE app_child ADD object regclass")
    filled.at_sender("UPDATE app_child SET object = 'pg_class' WHERE id = 1")
    filled.complete()
    assert len(filled.load().loaded) == 1
    filled.at_sender("UPDATE app_child SET object = 'named' WHERE id = 1")
    filled.complete()
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    assert "app_child (object) contain object ids, which differ" in str(read_reason(parked.path))


@pytest.mark.parametrize("kind", ["complete", "partial"])
@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("regclass", "'named'"),
        ("by_name", "'named'"),
        ("by_name[]", "'{named}'"),
        ("with_name", "'(named,1)'"),
        ("with_name[]", "ARRAY['(named,1)'::with_name]"),
        ("with_names", """'("{""(named,1)""}")'"""),
    ],
)
def test_object_ids_within_a_type(filled: TwoSites, type_: str, value: str, kind: str) -> None:
    filled.at_sender("CREATE TABLE named (id integer)")
    filled.at_receiver("CREATE TABLE another (id integer)", "CREATE TABLE named (id integer)")
    for change in (filled.at_sender, filled.at_receiver):
        change(
            "CREATE DOMAIN by_name AS regclass",
            "CREATE TYPE with_name AS (c regclass, n integer)",
            "CREATE TYPE with_names AS (all_of_them with_name[])",
            f"ALTER TABLE app_child ADD object {type_}",
        )
    since = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(f"UPDATE app_child SET object = {value} WHERE id = 1")
    if kind == "complete":
        filled.complete()
    else:
        filled.partial(recent_window(), since=since)
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    assert "app_child (object) contain object ids, which differ" in str(read_reason(parked.path))


class TestIdentity:
    @pytest.mark.long
    def test_archive_of_another_sender_is_quarantined(
        self, filled: TwoSites, tmp_path: Path
    ) -> None:
        filled.complete()
        filled.load()
        path = filled.complete()
        sender = verify_archive(path, signing_keys=()).sender.model_copy(
            update={"system_identifier": "1"}
        )
        remake(path, tmp_path / "remade", sender=sender)
        filled.load()
        (found,) = list_quarantined(filled.spool)
        reason = read_reason(found.path)
        assert reason is not None
        assert "comes from another sender (cluster 1" in reason.reason
        assert "AR_SYNC_SENDER_NAME" in reason.remedy

    def test_named_sender_may_move_to_another_cluster(
        self, filled: TwoSites, tmp_path: Path
    ) -> None:
        filled.sender_name = "production"
        filled.environ["AR_SYNC_SENDER_NAME"] = "production"
        filled.complete()
        filled.load()
        filled.at_sender("UPDATE app_child SET amount = 1.5 WHERE id = 1")
        moved = SenderIdentity(system_identifier="1", database="moved", name="production")
        remake(filled.complete(), tmp_path / "remade", sender=moved)
        assert len(filled.load().loaded) == 1
        assert equal(filled)

    def test_archive_of_another_name_is_quarantined(self, filled: TwoSites) -> None:
        filled.sender_name = "staging"
        filled.environ["AR_SYNC_SENDER_NAME"] = "production"
        filled.complete()
        assert filled.load().loaded == ()
        assert len(list_quarantined(filled.spool)) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("mismatch", "undone"),
    [
        ("ALTER TABLE app_child ADD wrong integer", "ALTER TABLE app_child DROP wrong"),
        (
            "ALTER TABLE app_child ALTER amount TYPE numeric",
            "ALTER TABLE app_child ALTER amount TYPE double precision",
        ),
        ("CREATE TABLE app_new (id int PRIMARY KEY)", "DROP TABLE app_new"),
    ],
)
def test_archive_that_can_never_match_is_superseded_by_a_later_one(
    filled: TwoSites, mismatch: str, undone: str
) -> None:
    """The sender takes a migration back that the receiver never had."""
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(mismatch, "UPDATE app_child SET changed = now() WHERE id = 7")
    never = [filled.partial(recent_window(), since=base), filled.complete()]
    filled.load()
    assert len(list_parked(filled.spool)) == len(never)
    assert not receiver_status(filled.settings, filled.catalog, filled.clock()).ok
    filled.at_sender(undone, "UPDATE app_child SET amount = 7 WHERE id = 7")
    filled.complete()
    filled.load()
    filled.load()
    assert list_parked(filled.spool) == []
    assert equal(filled)
    shown = receiver_status(filled.settings, filled.catalog, filled.clock())
    assert shown.ok, shown.lag.because


def test_archive_that_a_catalog_forbids_names_the_catalog_as_the_remedy(filled: TwoSites) -> None:
    catalog = filled.catalog
    filled.at_sender("CREATE TABLE app_new (id int PRIMARY KEY)")
    filled.at_receiver("CREATE TABLE app_new (id int PRIMARY KEY)")
    filled.complete()
    filled.catalog = catalog.model_copy(
        update={"tables": tuple(name for name in catalog.tables if name != "app_*")}
    )
    (parked,) = filled.admit().parked
    assert "does not match the receiver's catalog" in parked.problem
    assert "give both sides the same catalog" in parked.remedy
    filled.catalog = catalog
    assert len(filled.load().loaded) == 1
    assert equal(filled)
