"""What a receiver makes of the old system's archives, one rule after the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.history import comparable
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.archive_sensors import archive_sensor
from ar_sync_pipeline.receiver.jobs import complete_loaddata
from ar_sync_pipeline.receiver.ledger_metadata import unapplied_metadata
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_applied
from ar_sync_pipeline.sync.load.retention import run_retention
from ar_sync_pipeline.sync.watch.compare import compare_archive
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.row_differences import Kind
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.legacy.building import (
    GTFS,
    REPORT,
    complete,
    dump,
    packed,
    partial,
    report,
    report_row,
    some_rows,
)
from ar_sync_pipeline_tests.legacy.conftest import OldReceiver

REPORTS = 'SELECT id, message FROM "AndroidRequests_report" ORDER BY id'
TIMES = 'SELECT id, "timeStamp" FROM "AndroidRequests_report" ORDER BY id'
OLD = "backup_2017-09-25__03_30_00.tar.gz"
NEW = "backup_complete_20170925T063000.000000Z.tar"
LATER = "2017-09-25__10_00_00"
TEXTS = [
    "quotes \" and ' and \\ and / and $$",
    "line\nbreaks\r\nand\ttabs",
    "\\N",
    "\\.",
    "\\.\nCOPY x FROM stdin;",
    "ñandú 🚌 \u2028 \u00a0",
    "\x01\x02\x08\x0b\x0c\x1b\x7f\x85",
    "",
    "NULL",
    "\\x41 \\101 \\t",
]


def as_copy_writes(text: str) -> str:
    for plain, escaped in (
        ("\\", "\\\\"), ("\b", "\\b"), ("\f", "\\f"), ("\n", "\\n"),
        ("\r", "\\r"), ("\t", "\\t"), ("\v", "\\v"),
    ):  # fmt: skip
        text = text.replace(plain, escaped)
    return text


def test_domain_may_call_a_function_by_the_search_path(receiver: OldReceiver) -> None:
    receiver.at_receiver(
        "CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)'",
        "CREATE FUNCTION fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)'",
        "CREATE DOMAIN folded AS text CHECK (fold(VALUE) = VALUE)",
        'ALTER TABLE "AndroidRequests_report" ALTER message TYPE folded',
    )
    receiver.offer(complete(dump({"report": (REPORT, [report_row(1, "a")])})))
    receiver.load()
    assert rows(receiver.receiver, REPORTS) == [(1, "a")]


def test_texts_survive_to_the_character(receiver: OldReceiver) -> None:
    lines = [report_row(n, as_copy_writes(text)) for n, text in enumerate(TEXTS)]
    receiver.offer(complete(dump({"report": (REPORT, lines)})))
    receiver.load()
    assert rows(receiver.receiver, REPORTS) == list(enumerate(TEXTS))
    objects = [report(100 + n, text) for n, text in enumerate(TEXTS)]
    receiver.offer(partial({"report": objects}), "partial", LATER)
    receiver.load()
    assert rows(receiver.receiver, REPORTS) == [
        *enumerate(TEXTS),
        *((100 + n, text) for n, text in enumerate(TEXTS)),
    ]


def test_dump_of_an_old_server_is_read_too(receiver: OldReceiver) -> None:
    """Without the schema before the name, and in another encoding."""
    sql = dump({"report": (REPORT, [report_row(1, "ñandú")])}).decode()
    sql = sql.replace("COPY public.", "COPY ").replace("UTF8", "LATIN1")
    receiver.offer(complete(sql.encode("latin-1")))
    receiver.load()
    assert rows(receiver.receiver, REPORTS) == [(1, "ñandú")]


def test_json_larger_than_a_block_is_read_object_by_object(filled_receiver: OldReceiver) -> None:
    letters = Random(1)  # noqa: S311  incompressible, and the same each time
    texts = {n: letters.randbytes(n * n).hex() for n in range(1, 200)}
    objects = [report(n, text) for n, text in texts.items()]
    filled_receiver.offer(partial({"report": objects}), "partial", LATER)
    filled_receiver.load()
    assert rows(filled_receiver.receiver, REPORTS) == list(texts.items())


def test_complete_deletes_what_it_lacks_and_is_guarded(filled_receiver: OldReceiver) -> None:
    filled_receiver.environ["AR_SYNC_DELETE_GUARD"] = "5"
    emptied = dump({"report": (REPORT, []), "gtfs": (GTFS, [["1", "v1", "\\N"]])})
    filled_receiver.offer(complete(emptied), stamp="2017-09-26__03_30_00")
    (guarded,) = filled_receiver.load().refused
    assert "would be emptied of its 2 rows" in str(guarded)
    assert len(rows(filled_receiver.receiver, REPORTS)) == 2
    one = dump({"report": (REPORT, [report_row(2)]), "gtfs": (GTFS, [["1", "v1", "\\N"]])})
    filled_receiver.offer(complete(one), stamp="2017-09-27__03_30_00")
    filled_receiver.load()
    assert rows(filled_receiver.receiver, REPORTS) == [(2, "hello")]


def test_d20_time_that_is_known_better_keeps_its_microseconds(receiver: OldReceiver) -> None:
    """Also if the complete with newer data waits together with the partial."""
    known = [report_row(n, time=f"2017-09-25 12:01:36.950{n}23+00") for n in (1, 2, 3)]
    receiver.offer(complete(dump({"report": (REPORT, known)})))
    changed = [
        report(1),
        report(2, "changed"),
        report(3, timeStamp="2017-09-25T12:01:36.951Z"),
        report(4),
    ]
    receiver.offer(partial({"report": changed}), "partial", LATER)
    loaded = receiver.load().loaded
    assert rows(receiver.receiver, TIMES) == [
        (1, datetime(2017, 9, 25, 12, 1, 36, 950123, tzinfo=UTC)),
        (2, datetime(2017, 9, 25, 12, 1, 36, 950223, tzinfo=UTC)),
        (3, datetime(2017, 9, 25, 12, 1, 36, 951000, tzinfo=UTC)),
        (4, datetime(2017, 9, 25, 12, 1, 36, 950000, tzinfo=UTC)),
    ]
    (plan,) = loaded[-1].tables
    assert (plan.added, plan.changed) == (1, 2)


def test_d20_times_are_compared_to_the_millisecond_with_a_partial(receiver: OldReceiver) -> None:
    known = [report_row(n, time="2017-09-25 12:01:36.950123+00") for n in (1, 2)]
    receiver.offer(complete(dump({"report": (REPORT, known)})))
    receiver.offer(partial({"report": [report(1), report(2, "changed")]}), "partial", LATER)
    receiver.load()
    applied = {one.name.kind: one.path for one in list_applied(receiver.spool)}

    def different(kind: ArchiveKind) -> int:
        found = compare_archive(applied[kind], receiver.receiver, receiver.catalog, signing_keys=())
        return sum(one.count(Kind.DIFFERENT) for one in found)

    assert different(ArchiveKind.PARTIAL) == 0
    # A complete is exact, and row 2 came with the partial.
    assert different(ArchiveKind.COMPLETE) == 1
    later = 'UPDATE "AndroidRequests_report" SET "timeStamp" = "timeStamp" + interval %s'
    receiver.at_receiver(later % "'1 ms' WHERE id = 1")
    assert different(ArchiveKind.PARTIAL) == 1
    receiver.at_receiver(later % "'-1 ms 1 us' WHERE id = 1")
    assert (different(ArchiveKind.PARTIAL), different(ArchiveKind.COMPLETE)) == (0, 2)


def test_old_archive_waits_parked_until_the_setting_says_accept(receiver: OldReceiver) -> None:
    receiver.offer(complete())
    del receiver.environ["AR_SYNC_OLD_ARCHIVES"]
    (parked,) = receiver.admit().parked
    assert "set AR_SYNC_OLD_ARCHIVES=accept" in str(parked)
    assert "NEW_backup_complete_2017-09-25__03_30_00.tar.gz" in receiver.files("parked")
    receiver.environ["AR_SYNC_OLD_ARCHIVES"] = "accept"
    receiver.load()
    assert len(rows(receiver.receiver, REPORTS)) == 2
    assert receiver.files("parked") == []
    assert receiver.files("complete") == [OLD, NEW]


def test_converted_archive_waits_too_when_the_setting_is_taken_back(receiver: OldReceiver) -> None:
    receiver.offer(complete())
    assert len(receiver.admit().admitted) == 1
    receiver.environ["AR_SYNC_OLD_ARCHIVES"] = "refuse"
    (parked,) = receiver.admit().parked
    assert f"{NEW} comes from the old system" in str(parked)
    receiver.environ["AR_SYNC_OLD_ARCHIVES"] = "accept"
    assert len(receiver.load().loaded) == 1


def test_old_archive_does_not_get_past_a_signing_key(receiver: OldReceiver) -> None:
    receiver.environ["AR_SYNC_SIGNING_KEY"] = "3f9c1e7ab05d48826d2eb7f4910c5a83"
    receiver.offer(complete())
    (refused,) = receiver.admit().quarantined
    assert "signs nothing" in str(refused)
    assert "3f9c1e7ab05d48826d2eb7f4910c5a83" not in str(refused)
    assert rows(receiver.receiver, REPORTS) == []
    del receiver.environ["AR_SYNC_SIGNING_KEY"]
    (kept,) = (receiver.spool / "quarantine").glob("*.tar.gz")
    kept.rename(receiver.spool / "complete" / kept.name)
    assert len(receiver.load().loaded) == 1
    assert receiver.files("complete") == [OLD, NEW]


def test_name_of_the_sender_does_not_keep_old_archives_out(receiver: OldReceiver) -> None:
    receiver.environ["AR_SYNC_SENDER_NAME"] = "production"
    receiver.offer(complete())
    assert len(receiver.load().loaded) == 1


def test_new_sender_cannot_start_from_an_old_archives_watermark(
    filled_receiver: OldReceiver,
) -> None:
    """It belongs to no cluster, so the new sender's first partial counts by its window alone."""
    checkpoint = Checkpoint.read(filled_receiver.spool, signing_keys=())
    assert checkpoint is not None
    old = checkpoint.watermark
    assert old is not None
    for system_identifier in ("7550000000000000000", "0"):
        now = old.model_copy(
            update={"system_identifier": system_identifier, "snapshot": "10:10:", "timeline": 1}
        )
        assert comparable(old, now) is None


DRIFTED = dump({
    "report": ((*REPORT, "weather"), [[*report_row(1), "rain"]]),
    "surprise": (("id",), [["1"]]),
})  # fmt: skip


def test_unknown_column_or_table_parks_it(receiver: OldReceiver) -> None:
    receiver.offer(complete(DRIFTED))
    (parked,) = receiver.admit().parked
    assert "the receiver lacks column AndroidRequests_report.weather" in str(parked)
    assert "the receiver has no table AndroidRequests_surprise" in str(parked)
    receiver.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
    admission = receiver.admit()
    assert len(admission.admitted) == 1
    assert any("weather" in warning for warning in admission.warnings)
    receiver.load()
    assert rows(receiver.receiver, REPORTS) == [(1, "hello")]


def test_d22_unknown_field_of_a_partial_parks_it(filled_receiver: OldReceiver) -> None:
    filled_receiver.offer(partial({"report": [report(3, weather="rain")]}), "partial", LATER)
    (parked,) = filled_receiver.admit().parked
    assert "the receiver lacks column AndroidRequests_report.weather" in str(parked)
    filled_receiver.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
    filled_receiver.load()
    assert (3, "hello") in rows(filled_receiver.receiver, REPORTS)


def test_value_wider_than_the_receivers_column_parks_it(receiver: OldReceiver) -> None:
    receiver.offer(complete(dump({"gtfs": (GTFS, [["1", "a version that is long", "\\N"]])})))
    (parked,) = receiver.admit().parked
    assert "does not fit the receiver's column" in str(parked)


@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_parked_archive_is_superseded_once_another_has_brought_its_content(
    filled_receiver: OldReceiver, kind: str
) -> None:
    """Also one that can never be converted, and retention deletes it in the end."""
    receiver, stamp = filled_receiver, "2017-09-26__03_30_00"
    receiver.at_receiver('ALTER TABLE "AndroidRequests_report" ALTER message TYPE varchar(5)')
    wide = dump({"report": (REPORT, [report_row(1, "too long")])})
    content = complete(wide) if kind == "complete" else partial({"report": [report(1, "too long")]})
    receiver.offer(content, kind, stamp)
    for _ in range(2):
        assert len(receiver.load().loaded) == 0
        assert receiver.files("parked") == [
            f"NEW_backup_{kind}_{stamp}.tar.gz",
            f"NEW_backup_{kind}_{stamp}.tar.gz.reason.json",
        ]
    receiver.offer(complete(), stamp="2017-09-27__03_30_00")
    receiver.load()
    assert len(receiver.admit().rejected) == 0
    assert receiver.files("parked") == []
    assert f"backup_{stamp}.tar.gz" in receiver.files(kind)
    status = receiver_status(receiver.settings, receiver.catalog, receiver.clock())
    assert (status.count("parked"), status.count("superseded")) == (0, 1)
    receiver.clock = lambda: datetime.now(UTC) + timedelta(days=30)
    run_retention(receiver.settings, receiver.clock, dry_run=False)
    assert f"backup_{stamp}.tar.gz" not in receiver.files(kind)


@pytest.mark.parametrize("value", [10**12, 10**18 - 1])
def test_sequence_value_that_the_receivers_type_has_not_parks_it(
    receiver: OldReceiver, value: int
) -> None:
    end = b"-- PostgreSQL database dump complete"
    setting = (
        f"SELECT pg_catalog.setval('public.\"AndroidRequests_gtfs_id_seq\"', {value}, true);\n"
    )
    receiver.offer(complete(some_rows().replace(end, setting.encode() + end)))
    (refused,) = receiver.load().refused
    assert "cannot take the sender's last value" in str(refused)
    receiver.offer(complete(some_rows()), stamp="2017-09-26__03_30_00")
    assert len(receiver.load().loaded) == 1


def test_archive_of_the_future_waits(receiver: OldReceiver) -> None:
    receiver.clock = lambda: datetime(2017, 9, 25, 5, 0, tzinfo=UTC)
    receiver.offer(complete())
    (parked,) = receiver.admit().parked
    assert "is dated in the future" in str(parked)


def test_d15_partial_without_pictures_and_rows_is_loaded(filled_receiver: OldReceiver) -> None:
    filled_receiver.offer(partial({}), "partial", LATER)
    (loaded,) = filled_receiver.load().loaded
    assert (loaded.manifest.tables, loaded.manifest.media) == ((), ())


def test_d18_picture_whose_name_cannot_be_a_files_is_left_out(receiver: OldReceiver) -> None:
    pictures = {"two\nlines.jpeg": b"1", "ñandú-foto-grande.jpeg": b"2", "-rf.jpeg": b"3"}
    receiver.offer(complete(pictures=pictures))
    admission = receiver.admit()
    assert len(admission.admitted) == 1
    (warning,) = admission.warnings
    assert "1 media files whose names are not allowed here" in warning
    assert warning.isprintable()
    receiver.load()
    installed = {path.name: path.read_bytes() for path in receiver.receiver_media.iterdir()}
    assert installed == {"ñandú-foto-grande.jpeg": b"2", "-rf.jpeg": b"3"}


def test_d37_names_of_a_repeated_hour_are_resolved(receiver: OldReceiver) -> None:
    """Santiago, 2017-05-13: clocks go back from 24:00 to 23:00."""
    stamp = "2017-05-13__23_30_00"
    for made_at, message in (
        (datetime(2017, 5, 14, 2, 30, 2, tzinfo=UTC), "first"),
        (datetime(2017, 5, 14, 3, 30, 2, tzinfo=UTC), "second"),
    ):
        sql = dump({"report": (REPORT, [report_row(1, message)])})
        receiver.offer(complete(sql, made_at=int(made_at.timestamp())), stamp=stamp)
        receiver.load()
        assert rows(receiver.receiver, REPORTS) == [(1, message)]
    instants = rows(receiver.receiver, "SELECT snapshot_at FROM ar_sync.applied_archive ORDER BY 1")
    assert instants == [
        (datetime(2017, 5, 14, 2, 30, tzinfo=UTC),),
        (datetime(2017, 5, 14, 3, 30, tzinfo=UTC),),
    ]


def test_sensor_asks_for_a_load_of_old_archives(receiver: OldReceiver) -> None:
    """Not of those that wait for the setting only."""
    receiver.offer(complete())
    with dg.DagsterInstance.ephemeral() as instance:

        def answer(kind: ArchiveKind) -> object:
            site = ReceiverSite(receiver.settings, receiver.catalog, receiver.clock)
            sensor = archive_sensor(site, kind, complete_loaddata(ALONE))
            return sensor(dg.build_sensor_context(instance=instance))

        assert isinstance(answer(ArchiveKind.COMPLETE), dg.RunRequest)
        assert isinstance(answer(ArchiveKind.PARTIAL), dg.SkipReason)
        receiver.environ["AR_SYNC_OLD_ARCHIVES"] = "refuse"
        receiver.admit()
        assert isinstance(answer(ArchiveKind.COMPLETE), dg.SkipReason)
        receiver.environ["AR_SYNC_OLD_ARCHIVES"] = "accept"
        assert isinstance(answer(ArchiveKind.COMPLETE), dg.RunRequest)


def test_list_of_the_ledger_shows_no_command_that_cannot_read_an_old_archive(
    receiver: OldReceiver,
) -> None:
    receiver.offer(b"", stamp="2017-09-24__03_30_00")
    receiver.offer(complete(DRIFTED))
    receiver.admit()
    receiver.offer(complete(), stamp="2017-09-26__03_30_00")
    view = view_ledger(receiver.settings)
    assert [one.state for one in view.unapplied] == ["quarantined", "parked", "waiting"]
    assert {one.command for one in view.unapplied} == {""}
    assert "``" not in str(unapplied_metadata(view))


def test_status_counts_old_archives(receiver: OldReceiver) -> None:
    receiver.offer(complete())
    receiver.offer(b"", stamp="2017-09-24__03_30_00")
    receiver.admit()
    receiver.offer(complete(), stamp="2017-09-26__03_30_00")
    status = receiver_status(receiver.settings, receiver.catalog, receiver.clock())
    counts = {archives.state: archives.count for archives in status.archives}
    assert (counts["waiting"], counts["quarantined"]) == (2, 1)


@pytest.mark.long
def test_old_partials_are_judged_by_what_they_promise(receiver: OldReceiver) -> None:
    """Nobody knows what they miss, so by the new system's measure each would follow a gap."""
    receiver.environ["AR_SYNC_TIME"] = "15"
    zone, now = ZoneInfo(receiver.settings.timezone), datetime.now(UTC)

    def stamp(minutes_ago: int) -> str:
        local = (now - timedelta(minutes=minutes_ago)).astimezone(zone)
        return f"{local:%Y-%m-%d__%H_%M_%S}"

    receiver.offer(complete(), stamp=stamp(40))
    for minutes_ago in (30, 20, 1):
        receiver.offer(partial({}), "partial", stamp(minutes_ago))
        checks = {each.check_name: each for each in load_check_results(receiver.load(), 5, ALONE)}
        assert checks["no_holes"].passed == (minutes_ago != 1)
    status = receiver_status(receiver.settings, receiver.catalog, receiver.clock())
    assert status.gaps == 1, "the last window begins four minutes after the one before it"
    receiver.offer(partial({}), "partial", stamp(7))
    checks = {each.check_name: each for each in load_check_results(receiver.load(), 5, ALONE)}
    assert checks["no_holes"].passed
    lag = receiver_status(receiver.settings, receiver.catalog, receiver.clock()).lag
    assert lag.because == "that was the last window, all is well"


@pytest.mark.parametrize("lost", [False, True])
def test_lost_partial_of_an_old_sender_whose_windows_do_not_overlap_is_a_gap(
    receiver: OldReceiver, *, lost: bool
) -> None:
    """Old TIME=5 every five minutes, started by cron some seconds after the minute."""
    receiver.environ |= {"AR_SYNC_TIME": "15", "AR_SYNC_OLD_TIME": "5"}
    receiver.offer(complete(), stamp="2017-09-25__10_00_01")
    stamps = ("2017-09-25__10_05_02", "2017-09-25__10_10_04", "2017-09-25__10_15_01")
    for stamp in stamps[lost:]:
        receiver.offer(partial({}), "partial", stamp)
    checks = {each.check_name: each for each in load_check_results(receiver.load(), 5, ALONE)}
    assert checks["no_holes"].passed is not lost
    status = receiver_status(receiver.settings, receiver.catalog, receiver.clock())
    assert status.gaps == lost


def test_old_archive_with_a_column_that_has_a_rule_waits(receiver: OldReceiver) -> None:
    masked = {"AndroidRequests_report": {"mask": {"phoneId": "pseudonym"}, "exclude": ["message"]}}
    data = receiver.catalog.model_dump(by_alias=True)
    for label, rules in masked.items():
        data["table"][label] |= rules
    receiver.catalog = Catalog.model_validate(data)
    receiver.offer(complete())
    (parked,) = receiver.admit().parked
    assert "AndroidRequests_report.phoneId has a column rule (pseudonym)" in str(parked)
    assert "AndroidRequests_report.message has a column rule (exclude)" in str(parked)


@pytest.mark.parametrize("made_at", [2**60, -(2**60), 2**80, 0])
def test_any_time_in_a_tar_is_taken(receiver: OldReceiver, made_at: int) -> None:
    """Also in the hour that is repeated, where the time of the archive decides."""
    images = packed({"bus.jpeg": b"picture"}, made_at=made_at)
    receiver.offer(complete(images=images, made_at=made_at), stamp="2017-05-13__23_30_00")
    report = receiver.load()
    assert (len(report.loaded), report.refused) == (1, ())
    assert (receiver.receiver_media / "bus.jpeg").read_bytes() == b"picture"
