"""Damaged and hostile archives of the old system: quarantined with one sentence, nothing loaded."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import admitted_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.admission_asset import admission_checks
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.legacy import building
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
from ar_sync_pipeline_tests.sync.load.admitting_process import admitted_by

_MOST_MIB = 200


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


def long_header(size_bytes: int, kind: bytes) -> bytes:
    """A header that claims gigabytes of a name."""
    info = entry("././@LongLink", kind)
    info.size = size_bytes
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10 * 512))


def ends_after_header(size_bytes: int) -> bytes:
    """Return a tar whose only header declares a size, and that ends there."""
    info = entry("bus.jpeg", tarfile.REGTYPE)
    info.size = size_bytes
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT))


_LINK = entry("bus.jpeg", tarfile.SYMTYPE, "/etc/passwd")
_PICTURES = {f"{number}.jpeg": bytes(range(256)) * 400 for number in range(3)}

COMPLETES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "is truncated"),
    "no gzip": (lambda: b"PK\3\4" + bytes(500), "gzip stream is damaged"),
    "D12: cut in the middle": (lambda: complete()[:-300], "is truncated"),
    "D12: cut inside the images": (
        lambda: complete(images=packed(_PICTURES)[:-2000]),
        "member images.tar.gz: is truncated",
    ),
    "D12: one flipped byte of the database": (
        lambda: complete(database=flipped(packed({"database.sql": some_rows()}), 200)),
        "member database.tar.gz: its gzip stream is damaged",
    ),
    "bytes after the end": (lambda: complete() + b"more", "bytes after its gzip stream"),
    "a tar without an end": (
        lambda: complete(images=gzip.compress(building.tar({"a.jpeg": b"x"})[:1024])),
        "its tar has no end",
    ),
    "files behind the end": (
        lambda: complete(images=gzip.compress(building.tar({}) + building.tar({"a.jpeg": b""}))),
        "has files after its end",
    ),
    "a damaged header": (
        lambda: complete(images=gzip.compress(flipped(building.tar({"a.jpeg": b""}), 130))),
        "a header in it is damaged",
    ),
    "D14: empty dump": (lambda: complete(b""), "is empty, because pg_dump failed at the sender"),
    "a dump that was cut": (
        lambda: complete(some_rows().partition(b"-- PostgreSQL database dump comp")[0]),
        "is truncated: it lacks the last line that pg_dump writes",
    ),
    "a dump that was cut inside rows": (
        lambda: complete(some_rows().rpartition(b"\\.\n")[0][:-5]),
        "is truncated inside the rows of AndroidRequests_report",
    ),
    "a dump without rows": (lambda: complete(dump({})), "holds no rows of any table"),
    "a dump in another encoding": (
        lambda: complete(some_rows().replace(b"'UTF8'", b"'BIG5'")),
        "is written in BIG5",
    ),
    "a COPY that runs a program": (
        lambda: complete(some_rows().replace(b") FROM stdin;", b") FROM PROGRAM 'id';")),
        "a COPY that pg_dump does not write",
    ),
    "a table of another schema": (
        lambda: complete(some_rows().replace(b"COPY public.", b"COPY pg_catalog.")),
        "a table of schema pg_catalog",
    ),
    "a table twice": (
        lambda: complete(
            some_rows()
            .replace(b"_gtfs", b"_report")
            .replace(
                b'(id, version, "timeCreation") FROM stdin;\n1\tv1\t2017-01-01 00:00:00+00\n',
                b"(id, message) FROM stdin;\n",
            )
        ),
        "holds the rows of AndroidRequests_report twice",
    ),
    "a row of other columns": (
        lambda: complete(dump({"gtfs": (GTFS, [["1", "v1"]])})),
        "does not hold rows of AndroidRequests_gtfs (missing data for column",
    ),
    "a row that is none": (
        lambda: complete(dump({"gtfs": (GTFS, [["one\\nline", "v1", "\\N"]])})),
        "(invalid input syntax for type integer, COPY AndroidRequests_gtfs, line 1, column id)",
    ),
    "a byte that is no text": (
        lambda: complete(some_rows().replace(b"hello", b"hel\xfflo")),
        "does not hold rows of AndroidRequests_report (invalid byte sequence",
    ),
    "a key twice": (
        lambda: complete(dump({"report": (REPORT, [report_row(1), report_row(1)])})),
        "does not hold rows of AndroidRequests_report (could not create unique index",
    ),
    "rows without their key": (
        lambda: complete(dump({"gtfs": (("version",), [["v1"]])})),
        "holds AndroidRequests_gtfs without the key",
    ),
    "a link among the pictures": (
        lambda: complete(images=packed({}, _LINK)),
        "bus.jpeg in it is not a regular file",
    ),
    "a hard link": (
        lambda: complete(images=packed({}, entry("a.jpeg", tarfile.LNKTYPE, "/etc/passwd"))),
        "a.jpeg in it is not a regular file",
    ),
    "a device": (
        lambda: complete(images=packed({}, entry("a.jpeg", tarfile.CHRTYPE))),
        "a.jpeg in it is not a regular file",
    ),
    "D19: a picture that leaves its folder": (
        lambda: complete(pictures={"../../ssh/outside.jpeg": b"x"}),
        "../../ssh/outside.jpeg in it is not a plain file name",
    ),
    "an absolute picture": (
        lambda: complete(pictures={"/etc/cron.d/a.jpeg": b"x"}),
        "/etc/cron.d/a.jpeg in it is not a plain file name",
    ),
    "a file that nobody expects": (
        lambda: packed({"authorized_keys": b"ssh-rsa"}),
        "holds authorized_keys, and may only hold",
    ),
    "another file beside the dump": (
        lambda: complete(database=packed({"database.sql": some_rows(), "x.sh": b""})),
        "holds x.sh, and may only hold database.sql",
    ),
    "a link in the outer archive": (
        lambda: packed({}, entry("database.tar.gz", tarfile.SYMTYPE, "/etc/passwd")),
        "database.tar.gz in it is not a regular file",
    ),
    "no pictures' file": (lambda: complete(images=None), "images.tar.gz is missing in it"),
    "no database": (lambda: complete(database=None), "database.tar.gz is missing in it"),
    "a partial among the completes": (lambda: partial({}), "may only hold database.sql"),
    "a picture of more bytes than any disk has": (
        lambda: complete(images=ends_after_header(2**60)),
        "member images.tar.gz: bus.jpeg in it is declared larger than it can be",
    ),
    "a name of gigabytes": (
        lambda: complete(images=long_header(7 * 1024**3, tarfile.GNUTYPE_LONGNAME)),
        "a name in it is longer than",
    ),
    "a pax header of gigabytes": (
        lambda: complete(images=long_header(7 * 1024**3, tarfile.XHDTYPE)),
        "is not a regular file",
    ),
}


def of_reports(content: bytes) -> bytes:
    return partial({"report": content})


PARTIALS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a complete among the partials": (complete, "holds database.sql, and may only hold dump_"),
    "a list that was cut": (
        lambda: of_reports(json.dumps([report(1), report(2)]).encode()[:-40]),
        "member dump_Report.json: it is truncated inside an object",
    ),
    "a list that ends between objects": (
        lambda: of_reports(json.dumps([report(1)]).encode()[:-1]),
        "it is truncated, or not a JSON list",
    ),
    "no list": (lambda: of_reports(b'{"model": 1}'), "it is not a JSON list"),
    "an empty file": (lambda: of_reports(b""), "it is not a JSON list"),
    "no UTF-8": (lambda: of_reports(b'["\xff"]'), "it is not UTF-8"),
    "something after the list": (lambda: of_reports(b"[] []"), "it continues after its end"),
    "nested deeply": (lambda: of_reports(b"[" + b"[" * 200_000), "it is nested too deeply"),
    "a number in the list": (lambda: of_reports(b"[1]"), "object 1 in it is not what Django"),
    "another model": (
        lambda: of_reports(json.dumps([report(1) | {"model": "auth.user"}]).encode()),
        "object 1 in it is of model auth.user",
    ),
    "a list as a value": (
        lambda: partial({"report": [report(1, imageName=["a"])]}),
        "object 1 in it has no plain value in imageName",
    ),
    "objects with other fields": (
        lambda: partial({"report": [report(1), report(2, extra=1)]}),
        "object 2 in it has other fields than the first",
    ),
    "half a character": (
        lambda: of_reports(json.dumps([report(1, "\ud83d")]).encode()),
        "object 1 in it contains half a character",
    ),
    "a zero byte": (
        lambda: partial({"report": [report(1, "a\0b")]}),
        "does not hold rows of AndroidRequests_report (invalid byte sequence",
    ),
    "a missing file": (
        lambda: partial({}, database=packed({"dump_Report.json": b"[]"})),
        "dump_Busassignment.json, ",
    ),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("complete", name) for name in COMPLETES] + [("partial", name) for name in PARTIALS],
)
def test_it_is_quarantined_with_one_sentence_and_nothing_is_loaded(
    receiver: OldReceiver, kind: str, name: str
) -> None:
    make, words = (COMPLETES | PARTIALS)[name]
    content = make()
    receiver.offer(content, kind)
    admission = receiver.admit()
    assert (admission.admitted, admission.parked) == ((), ())
    (refused,) = admission.quarantined
    sentence = str(refused)
    assert words in sentence
    assert "NEW_backup_2017-09-25__03_30_00.tar.gz" in sentence
    assert sentence.isprintable()
    assert len(sentence) < 1000
    kept = receiver.spool / "quarantine" / f"NEW_backup_{kind}_2017-09-25__03_30_00.tar.gz"
    assert kept.read_bytes() == content
    reason = read_reason(kept)
    assert reason is not None
    assert reason.reason == refused.problem
    assert (receiver.files(kind), receiver.files("parked"), receiver.files(".incoming")) == (
        [],
        [],
        [],
    )
    assert list(receiver.receiver_media.iterdir()) == []


def failed_checks(receiver: OldReceiver) -> set[str | None]:
    """Return the checks that fail after a run of partials that admits its archives."""
    admission = receiver.admit([ArchiveKind.PARTIAL])
    results = list(admission_checks(admitted_key(ALONE), admission))
    return {result.check_name for result in results if not result.passed}


def test_damaged_complete_stays_lost_until_a_later_complete(filled_receiver: OldReceiver) -> None:
    """Whichever runs follow it, and also if a partial comes with it."""
    filled_receiver.offer(complete()[:-300], stamp="2017-09-26__03_30_00")
    filled_receiver.offer(partial({"report": [report(3)]}), "partial", "2017-09-26__03_45_00")
    together = filled_receiver.load()
    assert (len(together.loaded), len(together.lost)) == (1, 1)
    filled_receiver.offer(partial({"report": [report(4)]}), "partial", "2017-09-26__03_50_00")
    assert failed_checks(filled_receiver) == {"archives_sound"}
    (lost,) = filled_receiver.load().lost
    assert "is truncated" in str(lost)
    filled_receiver.offer(complete(), stamp="2017-09-27__03_30_00")
    assert filled_receiver.load().lost == ()
    assert failed_checks(filled_receiver) == set()


def test_damaged_partial_stays_lost_until_the_next_partial(filled_receiver: OldReceiver) -> None:
    filled_receiver.offer(partial({})[:-300], "partial", "2017-09-25__03_35_00")
    assert failed_checks(filled_receiver) == {"archives_sound"}
    assert failed_checks(filled_receiver) == {"archives_sound"}
    filled_receiver.offer(partial({}), "partial", "2017-09-25__03_40_00")
    assert filled_receiver.load().lost == ()


def test_parked_complete_is_shown_by_runs_that_do_not_try_it(filled_receiver: OldReceiver) -> None:
    drifted = dump({"report": ((*REPORT, "weather"), [[*report_row(1), "rain"]])})
    filled_receiver.offer(complete(drifted), stamp="2017-09-26__03_30_00")
    assert len(filled_receiver.admit().parked) == 1
    filled_receiver.offer(partial({"report": [report(3)]}), "partial", "2017-09-26__03_35_00")
    assert failed_checks(filled_receiver) == {"archives_fit_schema"}
    assert len(filled_receiver.load([ArchiveKind.PARTIAL]).loaded) == 1
    assert failed_checks(filled_receiver) == {"archives_fit_schema"}


def test_what_is_no_file_is_not_even_looked_at(receiver: OldReceiver) -> None:
    elsewhere = receiver.folder / "elsewhere"
    elsewhere.write_bytes(complete())
    (receiver.spool / "complete" / "NEW_backup_2017-09-25__03_30_00.tar.gz").symlink_to(elsewhere)
    (receiver.spool / "complete" / "NEW_backup_2017-09-26__03_30_00.tar.gz").mkdir()
    admission = receiver.admit()
    assert (admission.admitted, admission.parked, admission.quarantined) == ((), (), ())


def test_statements_of_a_dump_are_never_executed(receiver: OldReceiver) -> None:
    receiver.offer(
        complete(dump({"gtfs": (GTFS, [])}, more='DROP TABLE public."AndroidRequests_report";\n'))
    )
    assert len(receiver.load().loaded) == 1
    assert rows(receiver.receiver, 'SELECT count(*) FROM "AndroidRequests_report"') == [(0,)]


@pytest.mark.long
def test_memory_stays_small_with_any_content(receiver: OldReceiver) -> None:
    """Many rows of one table, and contents that unpack to hundreds of megabytes."""
    size_bytes = 64 * 1024**2
    names = ("id", "longitude", "latitude", "timeStamp", "inVehicleOrNot", "token_id")
    pose = ["-70.6", "-33.4", "2017-09-25 05:00:00+00", "in", "1"]
    poses = [[str(number), *pose] for number in range(150_000)]
    line = some_rows().replace(b"1\tv1\t", b"1\tv1\t" + bytes(size_bytes))
    worst = [
        complete(dump({"poseintrajectoryoftoken": (names, poses)})),
        complete(images=gzip.compress(building.tar({"a.jpeg": bytes(size_bytes)}))),
        complete(database=gzip.compress(gzip.compress(bytes(size_bytes)))),
        complete(line),
    ]
    for day, content in enumerate(worst, start=1):
        receiver.offer(content, stamp=f"2017-09-{day:02d}__03_30_00")
    environment = {
        "AR_SYNC_RECEIVER_DATABASE_URL": receiver.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(receiver.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(receiver.spool),
        "AR_SYNC_OLD_ARCHIVES": "accept",
    }
    quarantined, peak_kib = admitted_by(environment, receiver.catalog)
    assert quarantined == 3
    assert peak_kib < _MOST_MIB * 1024
    assert "backup_2017-09-01__03_30_00.tar.gz" in receiver.files("complete")
