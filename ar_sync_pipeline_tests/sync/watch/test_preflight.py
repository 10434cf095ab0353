"""``ar-sync check`` as a preflight: all problems at once, each with its remedy."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.export.ruled_values import RuledNow
from ar_sync_pipeline.files import FreeSpace
from ar_sync_pipeline.postgres.checks.findings import Finding, errors_of
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.postgres.ledger_tables import ensure_ledger
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    load_receiver_settings,
    load_sender_settings,
)
from ar_sync_pipeline.sync.dump.known_rules import FoundRuled
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline.sync.watch import database_access, folder_findings
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline.sync.watch.folder_findings import (
    media_findings,
    scratch_findings,
    secret_findings,
    spool_findings,
    state_findings,
)
from ar_sync_pipeline.sync.watch.other_side import _interval
from ar_sync_pipeline.sync.watch.preflight import preflight
from ar_sync_pipeline_tests.fix_alerts import PASSWORD, Mailbox, silent_server, smtp_server
from ar_sync_pipeline_tests.fix_dagster import SMALL_CATALOG, Deployment
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows
from ar_sync_pipeline_tests.missing_parts import only_root
from ar_sync_pipeline_tests.waiting import until


@pytest.fixture(autouse=True)
def mailbox(deployment: Deployment) -> Iterator[Mailbox]:
    with smtp_server(Mailbox()) as box:
        deployment.change_both(box.environ)
        yield box


def at_sender(deployment: Deployment, **changes: str) -> list[Finding]:
    settings = load_sender_settings(deployment.sender_environment() | changes)
    catalog = load_catalog(settings.catalog)
    return list(preflight(settings, catalog, lambda: datetime.now(UTC)).findings)


def at_receiver(deployment: Deployment, **changes: str) -> list[Finding]:
    settings = load_receiver_settings(deployment.receiver_environment() | changes)
    catalog = load_catalog(settings.catalog)
    return list(preflight(settings, catalog, lambda: datetime.now(UTC)).findings)


def said(findings: list[Finding]) -> list[str]:
    return [f"{one.area} {one.level}: {one.problem}" for one in findings]


@pytest.mark.long
def test_what_is_well_gives_no_finding_and_leaves_nothing_behind(
    deployment: Deployment, mailbox: Mailbox
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    before = sorted(deployment.folder.rglob("*"))
    assert said(at_sender(deployment)) == []
    assert said(at_receiver(deployment)) == []
    assert sorted(deployment.folder.rglob("*")) == before
    assert mailbox.raw == []


def test_new_receiver_is_examined_and_not_changed(deployment: Deployment) -> None:
    assert said(at_receiver(deployment)) == []
    assert rows(deployment.receiver_url, "SELECT to_regnamespace('ar_sync')") == [(None,)]


def test_value_that_lost_its_rule_since_the_last_dump_is_an_error(deployment: Deployment) -> None:
    execute(deployment.sender_url, "CREATE TABLE app_user (id int PRIMARY KEY, mail text)")
    rule = '[table.app_user]\nexclude = ["mail"]\n'
    (deployment.folder / "catalog.toml").write_text(SMALL_CATALOG + rule)
    settings = load_sender_settings(deployment.sender_environment())
    catalog = load_catalog(settings.catalog)
    with connect(deployment.sender_url, application="test") as connection:
        tables = read_tables(connection, catalog.schema_name, catalog.replicates)
        now = RuledNow.read(connection, catalog, None)
        FoundRuled.begin(settings.tmp_bkp_fldr, now.values(catalog, tables, None))
    assert not errors_of(at_sender(deployment))
    execute(
        deployment.sender_url,
        "ALTER TABLE app_user RENAME mail TO old_mail",
        "ALTER TABLE app_user ADD mail text",
    )
    (error,) = errors_of(at_sender(deployment))
    assert "these values are now in old_mail of table app_user, without a rule" in error.problem


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_wrong_password_is_an_error_without_the_password(deployment: Deployment, side: str) -> None:
    url = deployment.sender_url if side == "sender" else deployment.receiver_url
    role = f"secret_{urlsplit(url).path[1:]}"
    execute(url, f"CREATE ROLE {role} LOGIN PASSWORD 'right-horse'")
    (hba,) = rows(url, "SHOW hba_file")[0]
    before = Path(str(hba)).read_text()
    Path(str(hba)).write_text(f"host all {role} 127.0.0.1/32 scram-sha-256\n{before}")
    loaded = rows(url, "SELECT pg_conf_load_time()")
    try:
        execute(url, "SELECT pg_reload_conf()")
        until(lambda: rows(url, "SELECT pg_conf_load_time()") != loaded, "the file is read")
        parts = urlsplit(url)
        wrong = f"postgresql://{role}:wrong-horse@{parts.hostname}:{parts.port}{parts.path}"
        changes = {f"AR_SYNC_{side.upper()}_DATABASE_URL": wrong}
        environment = (
            deployment.sender_environment()
            if side == "sender"
            else deployment.receiver_environment()
        )
        shown = CliRunner().invoke(main, ["check", "--json"], env=environment | changes)
    finally:
        Path(str(hba)).write_text(before)
        execute(url, "SELECT pg_reload_conf()", f"DROP ROLE {role}")
    assert shown.exit_code == 1
    (finding,) = json.loads(shown.stdout)["findings"]
    assert (finding["area"], finding["level"]) == ("database", "error")
    assert "password authentication failed" in finding["problem"]
    assert "wrong-horse" not in shown.output


def test_everything_wrong_at_the_sender_is_said_at_once(deployment: Deployment) -> None:
    catalog = SMALL_CATALOG.replace('changed_at = "changed"', 'changed_at = "chngd"')
    catalog = catalog.replace('media_columns = ["picture"]', 'media_columns = ["amount"]')
    catalog = catalog.replace('tables = ["app_*"]', 'tables = ["app_*"]\nexclude = ["app_tmp*"]')
    (deployment.folder / "catalog.toml").write_text(catalog)
    (deployment.folder / "scratch").chmod(0o777)
    found = at_sender(deployment, AR_SYNC_EMAIL_PORT="1", AR_SYNC_FREE_SPACE_FLOOR="90")
    text = "\n".join(said(found))
    for expected in (
        "database error: table app_child has no column chngd",
        "database error: `media_columns` of table app_child names amount, which is a double",
        "catalog warning: `app_tmp*` of `exclude` matches nothing",
        "scratch warning: other accounts may write to the scratch folder",
        "mail warning: no alert can be mailed: the mail server 127.0.0.1:1 cannot be reached",
    ):
        assert expected in text, text
    assert all(one.remedy for one in found)


def test_rules_that_do_not_fit_the_receivers_columns_are_said(deployment: Deployment) -> None:
    catalog = SMALL_CATALOG.replace('["seen", "transformed"]', '["sene", "transformed"]')
    catalog = catalog.replace("{ transformed = false }", '{ transformed = "maybe" }')
    catalog = catalog.replace('receiver_tables = ["app_note"]', 'receiver_tables = ["app_nota"]')
    catalog = catalog.replace('changed_at = "changed"', 'changed_at = "chngd"')
    (deployment.folder / "catalog.toml").write_text(catalog)
    text = "\n".join(said(at_receiver(deployment)))
    assert "`receiver_columns` of table app_parent names sene, which is no column" in text
    assert "gives transformed the value 'maybe', which is no boolean" in text
    assert "`app_nota` of `receiver_tables` matches nothing" in text
    assert "`changed_at` of table app_child names chngd" in text


def test_missing_rights_come_as_sql_that_can_be_run(deployment: Deployment) -> None:
    url = deployment.receiver_url
    name = urlsplit(url).path[1:]
    role = f"Poor role of {name}"
    execute(
        url,
        f'CREATE ROLE "{role}" LOGIN',
        f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC',
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
    )
    parts = urlsplit(url)
    as_role = f"postgresql://{role.replace(' ', '%20')}@{parts.hostname}:{parts.port}/{name}"
    for _ in range(5):  # each statement makes the next missing right visible to the role
        found = at_receiver(deployment, AR_SYNC_RECEIVER_DATABASE_URL=as_role)
        errors = [one for one in found if one.level == "error"]
        if not errors:
            break
        assert all(one.sql for one in errors), said(errors)
        for one in errors:
            execute(url, one.sql)
    assert not errors, said(errors)


@pytest.mark.parametrize("with_ledger", [True, False])
def test_owner_of_the_ledger_that_may_not_use_its_schema_is_an_error(
    deployment: Deployment, with_ledger: bool
) -> None:
    url = deployment.receiver_url
    name = urlsplit(url).path[1:]
    role = f"owner_{name}"
    tables = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO"
    execute(url, f"CREATE ROLE {role} LOGIN", f"CREATE SCHEMA ar_sync AUTHORIZATION {role}")
    parts = urlsplit(url)
    as_role = f"postgresql://{role}@{parts.hostname}:{parts.port}/{name}"
    if with_ledger:
        with connect(as_role, application="test") as connection:
            ensure_ledger(connection)
    execute(
        url,
        f"{tables} {role}",
        f"REVOKE USAGE ON SCHEMA ar_sync FROM {role}",
    )

    def of_ledger() -> list[Finding]:
        found = at_receiver(deployment, AR_SYNC_RECEIVER_DATABASE_URL=as_role)
        return [one for one in found if "ledger in schema ar_sync cannot be written" in one.problem]

    (finding,) = of_ledger()
    assert finding.level == "error"
    execute(url, finding.sql)
    assert of_ledger() == []
    execute(url, f"REVOKE CREATE ON SCHEMA ar_sync FROM {role}")
    # What is there can be written without it; only what is missing cannot be made.
    assert len(of_ledger()) == (0 if with_ledger else 1)
    # An older version made the ledger.
    execute(url, "DROP TABLE IF EXISTS ar_sync.installed_media")
    assert len(of_ledger()) == 1
    with pytest.raises(DatabaseRefusedError), connect(as_role, application="test") as connection:
        ensure_ledger(connection)


def test_ledger_of_another_role_that_lacks_a_new_column_is_an_error(
    deployment: Deployment,
) -> None:
    url = deployment.receiver_url
    name = urlsplit(url).path[1:]
    role = f"loader_{name}"
    with connect(url, application="test") as connection:
        ensure_ledger(connection)
    execute(
        url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT USAGE, CREATE ON SCHEMA ar_sync TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA ar_sync TO {role}",
    )
    parts = urlsplit(url)
    as_role = f"postgresql://{role}@{parts.hostname}:{parts.port}/{name}"

    def of_ledger() -> list[str]:
        found = at_receiver(deployment, AR_SYNC_RECEIVER_DATABASE_URL=as_role)
        return [one.problem for one in found if "of the ledger cannot be written" in one.problem]

    assert of_ledger() == []
    execute(url, "ALTER TABLE ar_sync.applied_archive DROP COLUMN schema_fingerprint")
    assert "table ar_sync.applied_archive of the ledger cannot be written by this role" in (
        of_ledger()
    )


def test_spool_is_examined_without_being_changed(deployment: Deployment, tmp_path: Path) -> None:
    spool = deployment.spool
    (spool / "parked").rmdir()
    (spool / "quarantine").rmdir()
    (spool / "quarantine").symlink_to(tmp_path)
    (spool / "receipts").chmod(0o777)
    text = "\n".join(said(at_receiver(deployment)))
    assert "spool note: the spool has no folder parked yet" in text
    assert "quarantine is a symbolic link or a file, not a folder" in text
    assert "other accounts may write to" in text
    assert not (spool / "parked").exists()
    assert stat.S_IMODE((spool / "receipts").stat().st_mode) == 0o777


def test_media_folders_that_the_account_may_not_use_are_said(deployment: Deployment) -> None:
    for side in ("sender", "receiver"):
        for name in ("closed", "lost+found"):
            (deployment.folder / f"{side}_media" / name).mkdir(mode=0o500 if side[0] == "r" else 0)
    with permissions_count():
        (unread,) = media_findings(load_sender_settings(deployment.sender_environment()))
        (unwritten,) = media_findings(load_receiver_settings(deployment.receiver_environment()))
    assert "sender_media/closed, so its files are not sent" in unread.problem
    assert "receiver_media/closed, so no file can be installed in it" in unwritten.problem


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        ("command:/nowhere/program {archive}", "the transform program /nowhere/program does not"),
        ("command:{folder}/plain", "cannot be executed by this account"),
        ("command:{folder}/script", "names the interpreter /nowhere/python, which does not exist"),
        ("command:no-such-program-anywhere", "is not found in PATH"),
        ("command:true {window}", "unknown placeholder {window}"),
    ],
)
def test_transform_that_cannot_start_is_found(
    deployment: Deployment, transform: str, problem: str
) -> None:
    (deployment.folder / "plain").write_text("exit 0\n")
    (deployment.folder / "script").write_text("#!/nowhere/python -u\n")
    (deployment.folder / "script").chmod(0o755)
    setting = transform.replace("{folder}", str(deployment.folder))
    (found,) = at_receiver(deployment, AR_SYNC_TRANSFORM=setting)
    assert (found.area, found.level) == ("transform", "error")
    assert problem in found.problem


def test_mail_servers_login_is_tried_and_the_password_is_not_shown(
    deployment: Deployment,
) -> None:
    (found,) = at_receiver(
        deployment, AR_SYNC_EMAIL_HOST_USER="ar_sync", AR_SYNC_EMAIL_HOST_PASSWORD=PASSWORD
    )
    assert (found.area, found.level) == ("mail", "warning")
    assert PASSWORD not in str(found)


@pytest.mark.long
def test_settings_that_differ_between_the_sides_are_said_at_the_sender(
    deployment: Deployment,
) -> None:
    deployment.receiver_changes |= {"AR_SYNC_SENDER_NAME": "production"}
    deployment.sender_changes |= {"AR_SYNC_SENDER_NAME": "production"}
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert said(at_sender(deployment)) == []
    found = at_sender(
        deployment,
        AR_SYNC_PARTIAL_INTERVAL="10",
        AR_SYNC_TIME="30",
        AR_SYNC_SENDER_NAME="staging",
    )
    assert said(found) == [
        (
            "receiver error: AR_SYNC_SENDER_NAME is staging here, and the receiver accepts"
            " archives of production only"
        ),
        "receiver warning: AR_SYNC_PARTIAL_INTERVAL is 10 minutes here and 5 at the receiver",
        "receiver warning: AR_SYNC_TIME is 30 minutes here and 15 at the receiver",
    ]


@pytest.mark.long
def test_journal_that_cannot_be_read_hides_nothing_of_the_receiver(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    scratch = load_sender_settings(deployment.sender_environment()).tmp_bkp_fldr
    (scratch / SENT_FILE).unlink()
    (scratch / SENT_FILE).mkdir()
    (found,) = (one for one in at_sender(deployment, AR_SYNC_TIME="20") if one.area == "receiver")
    assert "AR_SYNC_TIME is 20 minutes here" in found.problem


@pytest.mark.long
def test_sender_that_is_another_one_is_said_at_the_receiver(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    (applied,) = at_receiver(deployment, AR_SYNC_SENDER_NAME="production")
    assert (applied.area, applied.level) == ("sender", "warning")
    deployment.succeed("partial_dump")
    (waits,) = at_receiver(deployment, AR_SYNC_SENDER_NAME="production")
    assert waits.level == "error"
    assert "this receiver accepts production only" in waits.problem


@pytest.mark.parametrize(
    ("partials", "minutes", "said"), [(1, 10, False), (2, 10, False), (3, 10, True), (1, 3, True)]
)
def test_first_archives_over_several_windows_are_no_other_length(
    deployment: Deployment, partials: int, minutes: int, *, said: bool
) -> None:
    settings = load_receiver_settings(deployment.receiver_environment())
    start = datetime(2026, 11, 29, 12, tzinfo=UTC)
    lines = [
        cast(
            AppliedArchive,
            SimpleNamespace(
                kind=ArchiveKind.PARTIAL,
                window_start=start,
                window_end=start + timedelta(minutes=minutes),
                system_identifier="1",
                superseded=False,
            ),
        )
    ] * partials
    assert bool(list(_interval(settings, lines))) is said


@pytest.mark.long
def test_windows_of_another_length_are_said_at_the_receiver(deployment: Deployment) -> None:
    for job in ("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata"):
        deployment.succeed(job)
    (found,) = at_receiver(deployment, AR_SYNC_PARTIAL_INTERVAL="10", AR_SYNC_TIME="30")
    assert found.problem == (
        "the sender's windows are 5 minutes long, and AR_SYNC_PARTIAL_INTERVAL is 10 here"
    )


@pytest.mark.long
def test_clocks_that_differ_are_said(deployment: Deployment) -> None:
    settings = load_receiver_settings(deployment.receiver_environment())
    catalog = load_catalog(settings.catalog)
    slow = preflight(settings, catalog, lambda: datetime.now(UTC) - timedelta(minutes=2))
    assert [(one.area, one.level) for one in slow.findings] == [("clock", "warning")]
    assert "the database server's clock is 120 s ahead of this machine's" in str(slow.findings[0])
    deployment.succeed("complete_dump")
    (archive,) = (deployment.spool / "complete").iterdir()
    os.utime(archive, (time.time() - 600, time.time() - 600))
    (found,) = at_receiver(deployment)
    assert (found.area, found.level) == ("sender", "error")
    assert "the sender's clock is at least" in found.problem


@pytest.mark.long
def test_what_hangs_keeps_nothing_else_from_being_examined(deployment: Deployment) -> None:
    with silent_server() as port:
        settings = load_receiver_settings(
            deployment.receiver_environment()
            | {
                "AR_SYNC_RECEIVER_DATABASE_URL": f"postgresql://x@127.0.0.1:{port}/x",
                "AR_SYNC_TRANSFORM": "command:/nowhere/program",
            }
        )
        started = time.monotonic()
        found = preflight(
            settings,
            load_catalog(settings.catalog),
            lambda: datetime.now(UTC),
            within_seconds=2,
        )
    assert time.monotonic() - started < 5
    text = "\n".join(said(list(found.findings)))
    assert "database error: the check of database did not end within 2 s" in text
    assert "/nowhere/program does not exist" in text


@pytest.mark.long
@pytest.mark.parametrize("state", ["waiting", "applied"])
def test_receiver_whose_url_is_the_senders_own_database_is_refused(
    deployment: Deployment, state: str
) -> None:
    deployment.succeed("complete_dump")
    if state == "applied":
        deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "ALTER TABLE app_parent ADD seen int, ADD transformed boolean")
    assert said(at_receiver(deployment)) == []
    found = at_receiver(deployment, AR_SYNC_RECEIVER_DATABASE_URL=deployment.sender_url)
    (own,) = [one for one in found if "the sender's own database" in one.problem]
    assert (own.area, own.level) == ("sender", "error")
    assert "AR_SYNC_RECEIVER_DATABASE_URL" in own.remedy


DJANGO = "CREATE TABLE django_migrations (app text, name text)"


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_migrations_that_the_role_may_not_read_are_an_error_with_the_grant(
    small_sites: TwoSites, side: str
) -> None:
    url = small_sites.sender if side == "sender" else small_sites.receiver
    small_sites.catalog = small_sites.catalog.model_copy(update={"django_app": "small"})
    name = urlsplit(url).path[1:]
    role = f"migrated role of {name}"
    for both in (small_sites.sender, small_sites.receiver):
        execute(both, DJANGO, "INSERT INTO django_migrations VALUES ('small', '0001')")
    execute(
        url,
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT CREATE ON DATABASE "{name}" TO "{role}"',
        f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"',
        f'GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "{role}"',
        f'REVOKE ALL ON django_migrations FROM "{role}"',
    )
    parts = urlsplit(url)
    setattr(
        small_sites,
        side,
        f"postgresql://{role.replace(' ', '%20')}@{parts.hostname}:{parts.port}/{name}",
    )
    check = check_sender if side == "sender" else check_receiver
    found = check(getattr(small_sites, side), small_sites.catalog)
    (error,) = [one for one in found if one.level == "error"]
    assert error.sql == f'GRANT SELECT ON "public"."django_migrations" TO "{role}";'
    with pytest.raises(DatabaseRefusedError, match="django_migrations") as caught:
        small_sites.complete()
        small_sites.load()
    assert f"{caught.value.remedy};" == error.sql
    execute(url, error.sql)
    small_sites.complete()
    assert small_sites.load().loaded


def test_misspelt_application_is_said(small_sites: TwoSites) -> None:
    execute(small_sites.sender, DJANGO, "INSERT INTO django_migrations VALUES ('small', '0001')")
    misspelt = small_sites.catalog.model_copy(update={"django_app": "smaal"})
    (found,) = check_sender(small_sites.sender, misspelt)
    assert found.level == "warning"
    assert "django_migrations has no row of the app smaal" in found.problem
    right = small_sites.catalog.model_copy(update={"django_app": "small"})
    assert check_sender(small_sites.sender, right) == ()


@pytest.mark.parametrize("folder", ["is_there", "is_made_later/state"])
def test_disk_of_the_incidents_is_examined(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / "is_there").mkdir()
    changes = {"AR_SYNC_STATE_FLDR": str(tmp_path / folder)}
    settings = load_receiver_settings({**deployment.receiver_environment(), **changes})
    assert list(state_findings(settings)) == []
    monkeypatch.setattr(folder_findings, "measure_free_space", lambda _: FreeSpace(5, 100))
    (found,) = state_findings(settings)
    assert "has 5.0 % free" in found.problem


def test_state_folder_on_a_disk_that_is_not_mounted_has_its_remedy(
    deployment: Deployment, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to("not mounted")
    changes = {"AR_SYNC_STATE_FLDR": str(link)}
    (found,) = state_findings(load_receiver_settings(deployment.receiver_environment() | changes))
    assert f"since {link} is a link to what does not exist" in found.problem
    assert found.remedy.startswith("mount the disk to which the link leads")


def test_scratch_folder_that_cannot_be_entered_ends_with_its_findings(
    deployment: Deployment,
) -> None:
    settings = load_sender_settings(deployment.sender_environment())
    (settings.tmp_bkp_fldr / SENT_FILE).touch()
    settings.tmp_bkp_fldr.chmod(0o600)
    with permissions_count():
        (found,) = scratch_findings(settings)
    assert "nothing can be written to" in found.problem


def test_folders_that_only_the_receiver_may_make_are_missing(deployment: Deployment) -> None:
    spool = deployment.spool
    spool.chmod(0o2750)
    modes = {".incoming": "2770", "receipts": "2750", "complete": "3770", "partial": "3770"}
    for name in modes:
        (spool / name).rmdir()
    found = spool_findings(load_receiver_settings(deployment.receiver_environment()))
    missing = {Path(one.remedy.split()[-1]).name: one for one in found if one.level == "error"}
    assert missing.keys() == modes.keys()
    deployment.receiver_changes["AR_SYNC_OLD_ARCHIVES"] = "accept"
    found = spool_findings(load_receiver_settings(deployment.receiver_environment()))
    later = [one.remedy for one in found if one.level == "note"]
    assert later == [f"before the new sender takes over: {one.remedy}" for one in missing.values()]
    del deployment.receiver_changes["AR_SYNC_OLD_ARCHIVES"]
    for name, mode in modes.items():
        words = missing[name].remedy.split()
        assert words[:3] == ["install", "-d", "-o"]
        assert (words[-2], words[-1]) == (mode, str(spool / name))
    spool.chmod(0o2770)
    left = spool_findings(load_receiver_settings(deployment.receiver_environment()))
    assert {str(one.level) for one in left} == {"note"}


def test_modes_that_keep_the_senders_account_out_are_named(deployment: Deployment) -> None:
    settings = load_receiver_settings(deployment.receiver_environment())
    modes = {"complete": 0o3770, "partial": 0o3770, "receipts": 0o2750, ".incoming": 0o2770}

    def closed() -> list[str]:
        for name, mode in modes.items():
            (deployment.spool / name).chmod(mode)
        found = [one for one in spool_findings(settings) if "account out" in one.problem]
        assert {str(one.level) for one in found} <= {"warning"}
        return sorted(one.remedy for one in found)

    deployment.spool.chmod(0o2750)
    assert closed() == []
    modes |= {"partial": 0o750, ".incoming": 0o700}
    assert closed() == [
        f"chmod 2770 {deployment.spool / '.incoming'}",
        f"chmod 3770 {deployment.spool / 'partial'}",
    ]
    modes["receipts"] = 0o700
    assert len(closed()) == 3
    # One account for both sides.
    deployment.spool.chmod(0o700)
    assert closed() == []


@only_root("give a folder away")
def test_spool_folder_of_another_account_is_named(deployment: Deployment) -> None:
    nobody, settings = 65534, load_receiver_settings(deployment.receiver_environment())
    for name, mode in (("complete", 0o3777), ("receipts", 0o770)):
        (deployment.spool / name).chmod(mode)
        os.chown(deployment.spool / name, nobody, -1)
    found = [one for one in spool_findings(settings) if "belongs to nobody" in one.problem]
    assert [(one.level, one.remedy) for one in found] == [
        ("error", "run this as nobody"),
        ("warning", "run this as nobody"),
    ]


def test_what_is_in_the_spool_and_is_no_archive_is_named(deployment: Deployment) -> None:
    name = "NEW_backup_partial_20261123T120000.000000Z.tar"
    partial, complete = deployment.spool / "partial", deployment.spool / "complete"
    for archive in (name, name.removeprefix("NEW_"), "NEW_backup_2017-09-25__03_30_00.tar.gz"):
        (partial / archive).touch()
    (deployment.spool / ".incoming" / f"{name}.part").touch()
    settings = load_receiver_settings(deployment.receiver_environment())
    assert list(spool_findings(settings)) == []
    os.mkfifo(complete / name.replace("partial", "complete"))
    (complete / "link\nto").symlink_to("/etc/passwd")
    (complete / f"{name}.2").touch()
    (deployment.spool / ".incoming" / "folder").mkdir()
    found = [str(one) for one in spool_findings(settings)]
    assert len(found) == 2
    assert f"{complete} has 3 entries that nothing reads or removes" in found[0]
    assert "link\\nto" in found[0]
    assert "'folder'" in found[1]


@pytest.mark.long
def test_key_that_only_the_senders_table_has_is_an_error(deployment: Deployment) -> None:
    execute(deployment.receiver_url, "ALTER TABLE app_child DROP CONSTRAINT app_child_pkey CASCADE")
    (unknown,) = at_receiver(deployment)
    assert unknown.level == "error"
    assert "table app_child has no primary key" in unknown.problem
    deployment.succeed("complete_dump")
    (known,) = at_receiver(deployment)
    assert known.problem.startswith("app_child has no unique key (id) at the receiver")
    execute(deployment.receiver_url, known.sql)
    assert said(at_receiver(deployment)) == []


@pytest.mark.long
def test_name_and_key_of_one_side_only_are_said_on_both(deployment: Deployment) -> None:
    deployment.sender_changes["AR_SYNC_SENDER_NAME"] = "production"
    deployment.receiver_changes["AR_SYNC_SIGNING_KEY"] = hashlib.sha256(b"a key").hexdigest()
    deployment.succeed("complete_dump")
    deployment.run("complete_loaddata")  # quarantines the archive, and signs the receiver's reports
    deployment.succeed("complete_dump")
    at_either = "\n".join(said(at_sender(deployment))), "\n".join(said(at_receiver(deployment)))
    for text in at_either:
        assert "sender warning: AR_SYNC_SENDER_NAME is production" in text.replace(
            "receiver warning", "sender warning"
        )
    assert "AR_SYNC_SIGNING_KEY is not set here" in at_either[0]
    assert "sender error: " in at_either[1]
    assert "it is not signed" in at_either[1]


def test_secrets_that_everybody_may_read_are_said(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(deployment.folder)
    settings = load_sender_settings(deployment.sender_environment())
    assert settings.private_key is not None
    (deployment.folder / ".env").touch(mode=0o640)
    assert list(secret_findings(settings)) == []
    (deployment.folder / ".env").chmod(0o644)
    settings.private_key.chmod(0o604)
    assert [one.remedy for one in secret_findings(settings)] == [
        f"chmod o= {deployment.folder / '.env'}",
        f"chmod o= {settings.private_key}",
    ]


def test_settings_that_the_service_reads_otherwise_are_said(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line tests one password, and the service's alerts use another."""
    monkeypatch.chdir(deployment.folder)
    settings = load_sender_settings(deployment.sender_environment())
    file = deployment.folder / ".env"
    file.touch(mode=0o600)
    file.write_text("AR_SYNC_EMAIL_HOST=mail\nAR_SYNC_EMAIL_HOST_PASSWORD=pa\\ss\n")
    (found,) = secret_findings(settings)
    assert found.level == "warning"
    assert f"reads AR_SYNC_EMAIL_HOST_PASSWORD in {file} otherwise" in found.problem
    file.write_text('AR_SYNC_EMAIL_HOST=mail\nAR_SYNC_EMAIL_HOST_PASSWORD="pa\\\\ss"\n')
    assert list(secret_findings(settings)) == []


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_areas_that_a_database_keeps_from_being_examined_are_known(
    deployment: Deployment, side: str
) -> None:
    """What was found there before may still be true; the reason is said once."""
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    changes = {f"AR_SYNC_{side.upper()}_DATABASE_URL": nowhere}
    settings: SenderSettings | ReceiverSettings
    if side == "sender":
        settings = load_sender_settings(deployment.sender_environment() | changes)
        areas = {"database", "catalog", "clock", "media columns", "receiver"}
    else:
        settings = load_receiver_settings(deployment.receiver_environment() | changes)
        areas = {"database", "clock", "media files", "sender"}
    found = preflight(settings, load_catalog(settings.catalog), lambda: datetime.now(UTC))
    assert found.unexamined == areas
    assert any("cannot be reached" in one.problem for one in errors_of(found.findings))
    assert sum("127.0.0.1:1/nowhere" in one.problem for one in found.findings) == 1


@pytest.mark.long
def test_table_that_somebody_locks_meanwhile_is_a_warning(deployment: Deployment) -> None:
    with psycopg.connect(deployment.sender_url) as connection:
        connection.execute("LOCK TABLE app_child")
        found = at_sender(deployment)
    assert [one.level for one in found if "lock timeout" in one.problem] == ["warning"]


def test_lock_that_ends_a_check_is_named_with_its_session(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_access, "_LONGEST_LOCK_WAIT", "100ms")
    execute(deployment.receiver_url, "INSERT INTO app_parent (code) VALUES ('a')")
    with psycopg.connect(deployment.receiver_url, application_name="reports") as connection:
        connection.execute("LOCK TABLE app_child, app_parent")
        pid = connection.info.backend_pid
        settings = load_receiver_settings(deployment.receiver_environment())
        found = preflight(settings, load_catalog(settings.catalog), lambda: datetime.now(UTC))
    (locked,) = [one for one in found.findings if "lock timeout" in one.problem]
    assert f"process {pid} (reports, LOCK TABLE app_child, app_parent, idle" in locked.problem
    assert "locks public.app_child, public.app_parent, in a transaction since 20" in locked.problem
    assert "was not examined" in locked.problem
    assert f"pg_terminate_backend({pid})" in locked.remedy
    assert found.verdict.startswith("Archives can be loaded, as far as it could be examined")


def locked_at_receiver(deployment: Deployment) -> Finding:
    settings = load_receiver_settings(deployment.receiver_environment())
    found = preflight(settings, load_catalog(settings.catalog), lambda: datetime.now(UTC))
    (locked,) = [one for one in found.findings if "lock timeout" in one.problem]
    return locked


def test_session_with_a_lock_on_another_table_is_not_blamed(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_access, "_LONGEST_LOCK_WAIT", "100ms")
    url = deployment.receiver_url
    execute(url, "INSERT INTO app_parent (code) VALUES ('a')", "CREATE TABLE mine (a int)")
    with (
        psycopg.connect(url, application_name="innocent") as innocent,
        psycopg.connect(url, application_name="guilty") as guilty,
    ):
        innocent.execute("LOCK TABLE mine")
        guilty.execute("LOCK TABLE app_child, app_parent")
        locked = locked_at_receiver(deployment)
        assert "(guilty, " in locked.problem
        assert f"pg_terminate_backend({guilty.info.backend_pid})" in locked.remedy
    assert "innocent" not in locked.problem


def test_session_that_keeps_a_lock_waiting_is_named(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_access, "_LONGEST_LOCK_WAIT", "100ms")
    url = deployment.receiver_url
    execute(url, "INSERT INTO app_parent (code) VALUES ('a')", "CREATE TABLE mine (a int)")
    with (
        psycopg.connect(url, application_name="innocent") as innocent,
        psycopg.connect(url, application_name="reader") as reader,
        psycopg.connect(url, application_name="migration", autocommit=True) as migration,
        psycopg.connect(url, autocommit=True) as other,
    ):
        innocent.execute("LOCK TABLE mine")
        reader.execute("SELECT FROM app_parent")
        alter = Thread(target=migration.execute, args=("ALTER TABLE app_parent ADD x int",))
        alter.start()
        waiting = "SELECT true FROM pg_locks WHERE NOT granted"
        try:
            until(lambda: other.execute(waiting).fetchone(), "ALTER TABLE waits", 10)
            locked = locked_at_receiver(deployment)
        finally:
            reader.rollback()
            alter.join()
        pid = reader.info.backend_pid
    assert "(migration, ALTER TABLE app_parent ADD x int" in locked.problem
    assert f"on public.app_parent, kept waiting by process {pid} (reader, " in locked.problem
    assert f"pg_terminate_backend({pid})" in locked.remedy
    assert "innocent" not in locked.problem
