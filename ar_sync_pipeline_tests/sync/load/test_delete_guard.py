"""The delete guard: a sender that lost its rows does not empty the receiver without approval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ar_sync_pipeline.alerts.incidents import Problem
from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_quarantined
from ar_sync_pipeline.sync.errors import NoArchiveError
from ar_sync_pipeline.sync.load.allow import allow_archive
from ar_sync_pipeline.sync.load.delete_guard import Deletion, guard_error, suspicious
from ar_sync_pipeline.sync.load.examine_again import examine_again
from ar_sync_pipeline.sync.rejection import Rejection, by_cause
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline.sync.watch.open_incidents import note_allowed
from ar_sync_pipeline.sync.watch.parked_findings import parked_findings
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    remake,
    rows,
    watermark_of,
)
from ar_sync_pipeline_tests.missing_parts import only_root


@pytest.mark.parametrize(
    ("before", "deleted", "kept"),
    [
        (2000, 100, False),
        (2000, 101, True),
        (1000, 900, False),
        (1001, 51, True),
        (10, 10, True),
        (0, 0, False),
    ],
)
def test_guard_keeps_large_shares_of_large_tables_and_emptied_ones(
    before: int, deleted: int, kept: bool
) -> None:
    deletion = Deletion("t", before, deleted, emptied=deleted == before)
    assert bool(suspicious([deletion], 5)) is kept
    assert suspicious([deletion], 100) == ()


def test_changed_rows_of_a_table_without_a_key_are_no_deletions(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE t_log (v int, seen boolean)")
    execute(sender, "INSERT INTO t_log SELECT n, false FROM generate_series(1, 2000) n")
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(sender, receiver, catalog, tmp_path, {"AR_SYNC_DELETE_GUARD": "5"})
    since = watermark_of(sites.complete())
    sites.load()
    execute(sender, "UPDATE t_log SET seen = true")
    since = watermark_of(sites.partial(recent_window(), since=since))
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_log ORDER BY v")
    execute(sender, "DELETE FROM t_log WHERE v <= 200")
    sites.complete(since=since)
    sites.load()
    (parked,) = list_parked(sites.spool)
    assert "200 of 2,000 rows of t_log" in str(read_reason(parked.path))


@pytest.mark.parametrize("archives", [1, 2])
@pytest.mark.long
def test_key_that_only_the_receiver_has_does_not_identify_the_senders_rows(
    database_factory: DatabaseFactory, tmp_path: Path, archives: int
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE t_log (v int, seen boolean)")
    execute(sender, "INSERT INTO t_log SELECT n, false FROM generate_series(1, 2000) n")
    execute(receiver, "ALTER TABLE t_log ADD id serial PRIMARY KEY")
    catalog = Catalog.model_validate(
        {"name": "c", "tables": ["t_*"], "table": {"t_log": {"receiver_columns": ["id"]}}}
    )
    sites = TwoSites(sender, receiver, catalog, tmp_path, {"AR_SYNC_DELETE_GUARD": "5"})
    since = watermark_of(sites.complete())
    sites.load()
    for number in range(archives):
        execute(sender, f"UPDATE t_log SET seen = true WHERE v % {archives} = {number}")
        since = watermark_of(sites.partial(recent_window(), since=since))
    assert sites.load().refused == ()
    assert equal(sites, "SELECT v, seen FROM t_log ORDER BY v")
    execute(sender, "DELETE FROM t_log WHERE v <= 200")
    sites.complete(since=since)
    sites.load()
    (parked,) = list_parked(sites.spool)
    assert "200 of 2,000 rows of t_log" in str(read_reason(parked.path))


@pytest.fixture
def guarded(filled: TwoSites) -> TwoSites:
    filled.environ["AR_SYNC_DELETE_GUARD"] = "5"
    filled.complete()
    filled.load()
    return filled


def run(sites: TwoSites, *words: object) -> Result:
    variables = {
        "AR_SYNC_RECEIVER_DATABASE_URL": sites.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(sites.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(sites.spool),
        "AR_SYNC_CATALOG": str(sites.folder / "catalog.toml"),
        "AR_SYNC_DELETE_GUARD": "5",
        "AR_SYNC_STATE_FLDR": str(sites.folder / "state"),
        "SUDO_USER": "maria",
    }
    (sites.folder / "catalog.toml").write_text(CATALOG)
    result = CliRunner().invoke(main, [str(word) for word in words], env=variables)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


CATALOG = """
name = "small"
tables = ["app_*"]
receiver_tables = ["app_note"]

[table.app_parent]
receiver_columns = ["seen", "transformed"]
reset_on_change = { transformed = false }
rewritten_by_transform = ["label"]

[table.app_child]
changed_at = "changed"
media_columns = ["picture"]
"""


def parked(sites: TwoSites) -> Path:
    (archive,) = list_parked(sites.spool)
    return archive.path


def test_complete_that_empties_a_table_is_parked_and_changes_nothing(guarded: TwoSites) -> None:
    guarded.at_sender("TRUNCATE app_child")
    guarded.complete()
    report = guarded.load()
    assert report.loaded == ()
    assert "app_child would be emptied of its 2,000 rows" in str(report.refused[0])
    assert "ar-sync allow" in report.refused[0].remedy
    assert rows(guarded.receiver, "SELECT count(*) FROM app_child") == [(2000,)]


@pytest.mark.parametrize(("notes", "parked"), [(1500, True), (40, False)])
def test_receiver_only_rows_that_refer_to_deleted_ones_are_counted_by_share(
    guarded: TwoSites, notes: int, parked: bool
) -> None:
    """No archive brings them back. The last row of a small table may go with the sender's row."""
    guarded.at_receiver(
        "ALTER TABLE app_note ALTER maybe_id SET NOT NULL",
        "INSERT INTO app_note (parent_id, maybe_id)"
        f" SELECT 1 + n % 50, 3 FROM generate_series(1, {notes}) n",
    )
    guarded.at_sender("DELETE FROM app_child WHERE id = 3")
    archive = guarded.complete().name
    report = guarded.load()
    said = "1,500 of 1,500 rows of app_note (100.0 %) would be deleted, since they refer to deleted"
    assert [said in str(error) for error in report.refused] == [True] * parked
    assert rows(guarded.receiver, "SELECT count(*) FROM app_note") == [(notes * parked,)]
    if parked:
        assert run(guarded, "allow", archive).exit_code == 0
        assert len(guarded.load().loaded) == 1
        assert rows(guarded.receiver, "SELECT count(*) FROM app_note") == [(0,)]


@pytest.mark.long
def test_last_rows_of_a_receiver_only_table_go_after_an_approved_archive_of_the_same_load(
    guarded: TwoSites,
) -> None:
    guarded.at_sender("INSERT INTO app_parent (id, code) VALUES (99, 'without children')")
    guarded.complete()
    guarded.load()
    guarded.at_receiver(
        "ALTER TABLE app_note ALTER maybe_id SET NOT NULL",
        "INSERT INTO app_note (parent_id, maybe_id)"
        " SELECT 1 + n % 50, 3 FROM generate_series(1, 1500) n",
        "INSERT INTO app_note (parent_id, maybe_id) SELECT 99, n FROM generate_series(11, 20) n",
    )
    guarded.at_sender("DELETE FROM app_child WHERE id = 3")
    complete = guarded.complete()
    assert len(guarded.load().refused) == 1
    assert run(guarded, "allow", complete.name).exit_code == 0
    # A partial deletes the row whose unique value another one has.
    guarded.at_sender("UPDATE app_parent SET id = 100 WHERE id = 99")
    guarded.partial(recent_window(), since=watermark_of(complete))
    report = guarded.load()
    assert report.refused == ()
    assert [one.manifest.kind for one in report.loaded] == [
        ArchiveKind.COMPLETE,
        ArchiveKind.PARTIAL,
    ]
    assert rows(guarded.receiver, "SELECT count(*) FROM app_note") == [(0,)]


def test_partials_go_on_while_a_complete_waits_for_a_person(guarded: TwoSites) -> None:
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    complete = guarded.complete()
    mark = watermark_of(complete)
    guarded.load()
    guarded.at_sender("UPDATE app_child SET amount = 5 WHERE id = 5")
    guarded.partial(recent_window(), since=mark)
    report = guarded.load()
    assert len(report.loaded) == 1
    assert rows(guarded.receiver, "SELECT amount FROM app_child WHERE id = 5") == [(5.0,)]
    assert len(list_parked(guarded.spool)) == 1


def test_allowed_archive_is_loaded_by_itself_and_the_ledger_remembers_who(
    guarded: TwoSites,
) -> None:
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    guarded.complete()
    guarded.load()
    assert guarded.admit().names == ()
    done = run(guarded, "allow", parked(guarded).name, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["allowed_by"] == "maria"
    report = guarded.load()
    assert len(report.loaded) == 1
    assert equal(guarded)
    (line,) = rows(guarded.receiver, "SELECT allowed_by, name FROM ar_sync.allowed_archive")
    assert line == ("maria", report.loaded[0].manifest.name.applied)


def test_approval_does_not_hold_for_another_archive_of_the_name(
    guarded: TwoSites, tmp_path: Path
) -> None:
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    guarded.complete()
    guarded.load()
    run(guarded, "allow", parked(guarded).name)
    (approved,) = (guarded.spool / "complete").glob("NEW_*")
    remake(approved, tmp_path / "members", product_version="9")
    assert guarded.load().loaded == ()
    assert rows(guarded.receiver, "SELECT count(*) FROM app_child") == [(2000,)]
    assert guarded.admit().names == ()
    run(guarded, "allow", parked(guarded).name)
    assert len(guarded.load().loaded) == 1


def test_approval_is_of_the_parked_archive_whatever_waits_under_its_name(
    guarded: TwoSites, tmp_path: Path
) -> None:
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    complete = guarded.complete()
    content = complete.read_bytes()
    guarded.load()
    complete.write_bytes(content)
    remake(complete, tmp_path / "members", product_version="9")
    assert run(guarded, "allow", parked(guarded).name).exit_code == 0
    assert complete.read_bytes() == content
    assert len(guarded.load().loaded) == 1
    (other,) = list_quarantined(guarded.spool)
    assert "other content" in str(read_reason(other.path))


@pytest.mark.long
def test_complete_that_waits_for_a_person_is_overtaken_by_the_next_one(guarded: TwoSites) -> None:
    guarded.at_sender("CREATE TABLE kept AS TABLE app_child", "TRUNCATE app_child")
    guarded.complete()
    guarded.load()
    guarded.at_sender("INSERT INTO app_child TABLE kept")
    guarded.complete()
    guarded.load()
    assert len(guarded.load().superseded) == 1
    assert list_parked(guarded.spool) == []
    assert equal(guarded)


@pytest.mark.long
def test_overtaken_complete_is_taken_along_by_a_load_of_partials_and_no_approval_is_asked_for(
    guarded: TwoSites,
) -> None:
    guarded.complete()
    guarded.load()
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    guarded.complete()
    guarded.load()
    (held,) = list_parked(guarded.spool)
    assert "ar-sync allow" in parked_reason(guarded).remedy
    guarded.at_sender("INSERT INTO app_child (parent_id) SELECT 3 FROM generate_series(1, 1000)")
    guarded.complete()
    guarded.environ["AR_SYNC_DELETE_GUARD"] = "100"
    guarded.load()
    assert [one.path for one in list_parked(guarded.spool)] == [held.path]
    found = parked_reason(guarded)
    assert "brings nothing new any more" in found.problem
    assert "allow" not in found.remedy
    status = receiver_status(guarded.settings, guarded.catalog, datetime.now(UTC))
    assert (status.count("parked"), status.count("parked, replaced")) == (0, 1)
    assert (status.lag.because, status.ok) == ("that was the last window, all is well", True)
    (shown,) = view_ledger(guarded.settings, status.parked).unapplied
    assert (shown.state, shown.command.split()[1]) == ("parked, replaced", "plan")
    assert [*parked_findings(guarded.settings, guarded.catalog, lambda: datetime.now(UTC))] == []
    guarded.load([ArchiveKind.PARTIAL])
    assert list_parked(guarded.spool) == []


def parked_reason(sites: TwoSites) -> Rejection:
    """Return why the parked archive waits, as status and checks show it."""
    parked = list_parked(sites.spool)
    (found,) = examine_again(sites.settings, sites.catalog, parked, sites.clock())
    return found


@pytest.mark.long
def test_partials_that_wait_for_a_person_are_overtaken_by_later_partials(
    guarded: TwoSites,
) -> None:
    """A table without a key comes whole, so that each partial would delete the rows."""
    for change in (guarded.at_sender, guarded.at_receiver):
        change("CREATE TABLE app_log (v integer)")
    guarded.at_sender("INSERT INTO app_log SELECT generate_series(1, 2000)")
    since = watermark_of(guarded.complete())
    guarded.load()
    guarded.at_sender("DELETE FROM app_log WHERE v <= 200")
    for value in (-1, -2, -3):
        guarded.at_sender(f"INSERT INTO app_log VALUES ({value})")
        guarded.partial(recent_window(), since=since)
        guarded.load()
    first, *others = sorted(list_parked(guarded.spool), key=lambda a: a.name.snapshot_at)
    assert len(others) == 2
    since = watermark_of(first.path)
    run(guarded, "allow", first.name.applied)
    assert len(guarded.load().loaded) == 1
    guarded.at_sender("INSERT INTO app_log VALUES (-4)")
    guarded.partial(recent_window(), since=since)
    assert len(guarded.load().loaded) == 1
    guarded.load()
    assert list_parked(guarded.spool) == []
    assert equal(guarded, "SELECT * FROM app_log ORDER BY v")


def test_partial_may_empty_a_table_with_the_rows_that_its_own_rows_replace(
    guarded: TwoSites,
) -> None:
    """A user and his only membership were deleted, and his name was taken again."""
    for change in (guarded.at_sender, guarded.at_receiver):
        change(
            "CREATE TABLE app_user (id int PRIMARY KEY, name text NOT NULL UNIQUE)",
            "CREATE TABLE app_member"
            " (id int PRIMARY KEY, user_id int NOT NULL REFERENCES app_user)",
        )
    guarded.at_sender(
        "INSERT INTO app_user VALUES (1, 'ana')", "INSERT INTO app_member VALUES (1, 1)"
    )
    since = watermark_of(guarded.complete())
    guarded.load()
    guarded.at_sender("DELETE FROM app_member", "UPDATE app_user SET id = 2")
    guarded.partial(recent_window(), since=since)
    report = guarded.load()
    assert (report.refused, len(report.loaded)) == ((), 1)
    assert equal(guarded, "SELECT * FROM app_user")
    assert equal(guarded, "SELECT * FROM app_member")


class TestApprovedArchiveAndALaterOneInOneLoad:
    """The later one carries the table whole: a changed row counts as deleted and added."""

    def approve(self, sites: TwoSites) -> Watermark:
        """Let a complete delete most rows, and approve it; return what a partial starts from."""
        for change in (sites.at_sender, sites.at_receiver):
            change("CREATE TABLE app_log (v integer)")
        sites.at_sender("INSERT INTO app_log SELECT generate_series(1, 5000)")
        since = watermark_of(sites.complete())
        sites.load()
        sites.at_sender("DELETE FROM app_log WHERE v <= 3000")
        complete = sites.complete(since)
        sites.load()
        run(sites, "allow", complete.name.removeprefix("NEW_"))
        return since

    @pytest.mark.long
    def test_its_deletions_are_not_those_of_the_later_one(self, guarded: TwoSites) -> None:
        since = self.approve(guarded)
        guarded.at_sender("UPDATE app_log SET v = -v", "DELETE FROM app_log WHERE v < -4900")
        guarded.partial(recent_window(), since=since)
        report = guarded.load()
        assert (report.refused, len(report.loaded)) == ((), 2)
        assert equal(guarded, "SELECT * FROM app_log ORDER BY v")

    @pytest.mark.long
    def test_later_one_that_deletes_much_itself_is_parked(self, guarded: TwoSites) -> None:
        since = self.approve(guarded)
        guarded.at_sender(
            "DELETE FROM app_log WHERE v <= 3200", "UPDATE app_log SET v = -v WHERE v = 5000"
        )
        partial = guarded.partial(recent_window(), since=since)
        report = guarded.load()
        assert len(report.loaded) == 1
        assert [archive.name.waiting for archive in list_parked(guarded.spool)] == [partial.name]
        assert "200 of 2,000 rows of app_log (10.0 %)" in str(report.refused[0])
        assert rows(guarded.receiver, "SELECT count(*) FROM app_log") == [(2000,)]


def test_incident_of_an_allowed_archive_asks_for_nothing_any_more(guarded: TwoSites) -> None:
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    guarded.complete()
    guarded.load()
    reason, name = parked_reason(guarded), parked(guarded).name.removeprefix("NEW_")
    alerts = open_alerts(guarded.settings, lambda: datetime.now(UTC))
    at = datetime.now(UTC)
    alerts.record(Problem("c", "s", "1", at, "t", "w", reason.problem, reason.remedy))
    alerts.record(Problem("d", "s", "1", at, "t", "w", "x", "run `ar-sync allow other.tar`"))
    run(guarded, "allow", name)
    kept, other = (one.incident.latest for one in alerts.store.open_incidents())
    assert kept.sentence == reason.problem
    assert kept.remedy.startswith(f"no action is needed: {name} is allowed by ")
    assert other.remedy == "run `ar-sync allow other.tar`"


def test_archive_is_allowed_although_the_incidents_are_on_a_disk_that_is_not_mounted(
    guarded: TwoSites,
) -> None:
    guarded.at_sender("DELETE FROM app_child WHERE id > 1000")
    guarded.complete()
    guarded.load()
    (guarded.folder / "state").symlink_to("not mounted")
    shown = run(guarded, "allow", parked(guarded).name)
    assert shown.exit_code == 0, shown.output
    assert guarded.load().refused == ()


def test_incident_of_two_archives_asks_for_the_one_that_is_not_allowed(guarded: TwoSites) -> None:
    at = datetime.now(UTC)
    names = [f"backup_complete_2026112{day}T153000.123456Z.tar" for day in (3, 4)]
    errors = {name: guard_error(name, [Deletion("t", 5, 5, True)]) for name in names}
    parked = [Rejection(n, e.problem, e.remedy, e.code, waits=True) for n, e in errors.items()]
    sentence = " ".join(map(str, by_cause(parked)))
    alerts = open_alerts(guarded.settings, lambda: at)
    alerts.record(Problem("c", "s", "1", at, "t", "w", sentence, "use `ar-sync allow`"))

    def told() -> tuple[str, str]:
        (open_one,) = alerts.store.open_incidents()
        return open_one.incident.latest.sentence, open_one.incident.latest.remedy

    note_allowed(guarded.settings, names[0], "ana", at)
    said, remedy = told()
    assert f"`ar-sync allow {names[0]}`" not in said
    assert f"{names[0]} is allowed by ana" in said
    assert f"`ar-sync allow {names[1]}`" in said
    assert remedy == "use `ar-sync allow`"
    note_allowed(guarded.settings, names[1], "ana", at)
    said, remedy = told()
    assert "ar-sync allow" not in said
    assert remedy.startswith("no action is needed")


def test_what_is_parked_for_another_reason_cannot_be_allowed(guarded: TwoSites) -> None:
    guarded.at_receiver("ALTER TABLE app_child DROP amount")
    guarded.complete()
    guarded.load()
    shown = run(guarded, "allow", parked(guarded).name)
    assert (shown.exit_code, len(list_parked(guarded.spool))) == (2, 1)
    assert "is not kept by the delete guard" in shown.stderr
    assert "migrate the receiver" in shown.stderr


@only_root("take an account without a name")
def test_account_without_a_name_may_allow_an_archive() -> None:
    code = (
        "import os; os.setresuid(54321, 0, 0)\n"
        "from ar_sync_pipeline.cli.receiver_commands import allow, _account\n"
        "print(_account()); allow(['backup.tar'])"
    )
    environ = {"PATH": os.environ["PATH"]}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environ
    )
    # The settings are missing, which is an error of one message; the account is none.
    assert shown.stdout == "user 54321\n"
    assert (shown.returncode, "Traceback" in shown.stderr) == (2, False), shown.stderr


class TestPlanCommand:
    def test_it_shows_rows_by_table_and_changes_nothing(self, guarded: TwoSites) -> None:
        guarded.at_sender(
            "UPDATE app_child SET amount = -1 WHERE id < 4",
            "DELETE FROM app_child WHERE id = 9",
            "INSERT INTO app_child (parent_id) VALUES (1), (2)",
        )
        path = guarded.complete()
        before = rows(guarded.receiver, "SELECT xmin::text, * FROM app_child ORDER BY id")
        shown = run(guarded, "plan", path, "--json")
        assert shown.exit_code == 0, shown.output
        result = json.loads(shown.stdout)
        assert (result["verdict"], result["ok"]) == ("applied", True)
        tables = {table["table"]: table for table in result["archives"][0]["tables"]}
        child = tables["app_child"]
        assert (child["added"], child["changed"], child["deleted"]) == (2, 3, 1)
        assert rows(guarded.receiver, "SELECT xmin::text, * FROM app_child ORDER BY id") == before
        assert path.exists()
        text = run(guarded, "plan", path)
        assert "app_child" in text.stdout
        assert "would be applied" in text.stdout

    def test_it_says_what_the_guard_would_keep(self, guarded: TwoSites) -> None:
        guarded.at_sender("TRUNCATE app_child")
        path = guarded.complete()
        shown = run(guarded, "plan", path)
        assert shown.exit_code == 1
        assert "kept by the delete guard" in shown.stdout
        assert "ar-sync allow" in shown.stdout

    def test_it_says_why_an_archive_would_be_parked_or_quarantined(self, guarded: TwoSites) -> None:
        guarded.at_receiver("ALTER TABLE app_child DROP amount")
        path = guarded.complete()
        shown = run(guarded, "plan", path)
        assert (shown.exit_code, "would be parked" in shown.stdout) == (1, True)
        guarded.at_receiver("ALTER TABLE app_child ADD amount double precision")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        shown = run(guarded, "plan", path)
        assert (shown.exit_code, "would be quarantined" in shown.stdout) == (1, True)

    def test_applied_and_superseded_archives_bring_nothing(self, guarded: TwoSites) -> None:
        (applied,) = (guarded.spool / "complete").iterdir()
        shown = run(guarded, "plan", applied)
        assert (shown.exit_code, "already applied" in shown.stdout) == (0, True)
        partial = guarded.partial(recent_window())
        guarded.complete()
        guarded.load()
        shown = run(guarded, "plan", partial.with_name(partial.name.removeprefix("NEW_")))
        assert (shown.exit_code, "superseded" in shown.stdout) == (0, True)

    @pytest.mark.parametrize("command", ["plan", "allow"])
    def test_what_is_no_archive_is_an_error_in_one_sentence(
        self, guarded: TwoSites, command: str
    ) -> None:
        shown = run(guarded, command, guarded.folder / "catalog.toml")
        assert shown.exit_code == 2
        assert shown.stderr.count("\n") == 1

    def test_archive_that_cannot_be_looked_up_is_one_message(self, guarded: TwoSites) -> None:
        name = next((guarded.spool / "complete").iterdir()).name
        closed = guarded.folder / "closed"
        closed.mkdir(mode=0)
        for path, reason in (
            (closed / name, "cannot be read (Permission denied)"),
            (guarded.folder / name, "does not exist"),
            (guarded.folder / f"{'x' * 300}.tar", "cannot be read (File name too long)"),
        ):
            with permissions_count():
                shown = run(guarded, "plan", path)
            assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
            assert f"{path.name[-40:]} {reason}" in shown.stderr

    def test_settings_are_also_read_from_a_file_as_dagster_does(
        self, guarded: TwoSites, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (guarded.folder / "catalog.toml").write_text(CATALOG)
        (guarded.folder / ".env").write_text(
            f"AR_SYNC_RECEIVER_DATABASE_URL={guarded.receiver}\n"
            f"AR_SYNC_CATALOG={guarded.folder / 'catalog.toml'}\n"
        )
        monkeypatch.chdir(guarded.folder)
        monkeypatch.setenv("AR_SYNC_RECEIVER_MEDIA_FLDR", str(guarded.receiver_media))
        monkeypatch.setenv("AR_SYNC_REMOTE_BKP_FLDR", str(guarded.spool))
        monkeypatch.setenv("AR_SYNC_TRANSFORM", "none")
        (archive,) = (guarded.spool / "complete").iterdir()
        shown = CliRunner().invoke(main, ["plan", str(archive)])
        assert shown.exit_code == 0, shown.output


def test_archive_that_is_applied_needs_no_approval(filled: TwoSites) -> None:
    name = filled.complete().name.removeprefix("NEW_")
    filled.load()
    with pytest.raises(NoArchiveError, match=f"{name} is applied"):
        allow_archive(filled.settings, name, allowed_by="ana", clock=filled.clock)
