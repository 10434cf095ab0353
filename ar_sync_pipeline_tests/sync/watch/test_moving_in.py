"""``ar-sync check --moving-in``: findings that only a machine of the old system has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.files import free_space
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    load_receiver_settings,
    load_sender_settings,
)
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.sync.watch.moving_in import moving_in_findings
from ar_sync_pipeline_tests.fix_rights import permissions_count

OLD_LINE = (
    "*/5 * * * * /usr/bin/python /srv/server/manage.py crontab run 2ee"
    " > /tmp/android_request_bkps_partial_dump_log.txt # django-cronjobs for server"
)
KEY = "2b7e151628aed2a6abf7158809cf4f3c"
WAITING = "NEW_backup_2017-09-25__03_30_00.tar.gz"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    root = tmp_path / "machine"
    for folder in ("srv/media", "srv/spool"):
        (root / folder).mkdir(parents=True)
    prepare_spool(root / "srv/spool")
    return {
        "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://viz@127.0.0.1:1/viz",
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(root / "srv/media"),
        "AR_SYNC_REMOTE_BKP_FLDR": str(root / "srv/spool"),
    }


def settings(environ: dict[str, str]) -> ReceiverSettings:
    return load_receiver_settings(environ)


def found(environ: dict[str, str]) -> list[str]:
    root = Path(environ["AR_SYNC_REMOTE_BKP_FLDR"]).parents[1]
    findings = moving_in_findings(settings(environ), root)
    return [f"{one.level}: {one}" for one in findings if one.level is not Level.NOTE]


def wait_in(environ: dict[str, str], size_bytes: int = 10) -> None:
    path = Path(environ["AR_SYNC_REMOTE_BKP_FLDR"]) / "complete" / WAITING
    with path.open("wb") as file:
        file.truncate(size_bytes)


def test_machine_that_is_ready_gives_no_warning(environ: dict[str, str]) -> None:
    wait_in(environ)
    ready = environ | {"AR_SYNC_OLD_ARCHIVES": "accept", "AR_SYNC_OLD_TIME": "5"}
    assert found(ready) == []


def test_look_back_of_the_old_sender_that_nobody_set_is_asked_for(environ: dict[str, str]) -> None:
    wait_in(environ)
    (asked,) = found(environ | {"AR_SYNC_OLD_ARCHIVES": "accept"})
    assert asked.startswith("warning: AR_SYNC_OLD_TIME is not set")


@pytest.mark.parametrize("place", ["etc/crontab", "etc/cron.d/x", "var/spool/cron/crontabs/root"])
def test_cron_lines_of_the_old_system_are_named_wherever_they_are(
    environ: dict[str, str], tmp_path: Path, place: str
) -> None:
    crontab = tmp_path / "machine" / place
    crontab.parent.mkdir(parents=True)
    crontab.write_text(f"# {OLD_LINE}\n0 1 * * * true\n")
    assert found(environ) == []
    crontab.write_text(f"{OLD_LINE}\n{OLD_LINE}\x1b[2J\n")
    (line,) = found(environ)
    assert line.startswith("warning: ")
    assert f"{place} still starts the old system" in line
    assert "and 1 more" in line
    assert line.isprintable()


@pytest.mark.parametrize(
    "line",
    [
        "*/5 * * * * /usr/bin/python /srv/server/manage.py crontab run 2ee",
        "*/5 * * * * /srv/run.sh # django-cronjobs for server",
    ],
)
def test_cron_lines_that_may_be_the_old_system_are_named_as_such(
    environ: dict[str, str], tmp_path: Path, line: str
) -> None:
    crontab = tmp_path / "machine/var/spool/cron/crontabs/root"
    crontab.parent.mkdir(parents=True)
    crontab.write_text(f"{line}\n")
    (named,) = found(environ)
    assert "jobs of django-crontab that may be the old system" in named
    crontab.write_text(f"{line}\n{OLD_LINE}\n")
    assert len(found(environ)) == 2


@pytest.mark.parametrize(("mode", "told"), [(0o330, True), (0o000, True), (0o755, False)])
@pytest.mark.parametrize("place", ["var/spool/cron/crontabs", "var/spool/cron", "etc/cron.d"])
def test_crontabs_that_this_account_cannot_list_are_told(
    environ: dict[str, str], tmp_path: Path, place: str, mode: int, *, told: bool
) -> None:
    """Debian's crontabs/ has mode 1730: other accounts may not list it."""
    crontabs = tmp_path / "machine" / place
    crontabs.mkdir(parents=True)
    crontabs.chmod(mode)
    try:
        with permissions_count():
            findings = list(moving_in_findings(settings(environ), tmp_path / "machine"))
    finally:
        crontabs.chmod(0o755)
    assert any("cannot read every crontab" in str(one) for one in findings) is told


def test_old_archives_that_would_be_refused_or_not_fit_are_errors(environ: dict[str, str]) -> None:
    environ["AR_SYNC_OLD_TIME"] = "5"
    wait_in(environ)
    (refused,) = found(environ)
    assert "AR_SYNC_OLD_ARCHIVES=accept" in refused
    free = free_space(Path(environ["AR_SYNC_REMOTE_BKP_FLDR"])).free_bytes
    wait_in(environ, free // 2)
    signed = {
        "AR_SYNC_OLD_ARCHIVES": "accept",
        "AR_SYNC_SIGNING_KEY": "2b7e151628aed2a6abf7158809cf4f3c",
    }
    key, space = found(environ | signed)
    assert key.startswith("error: ")
    assert "the old sender signs nothing: 1 archive would be quarantined" in key
    assert "conversion needs 3 times as many" in space


def test_old_archives_that_are_applied_show_that_the_spool_is_the_old_one(
    environ: dict[str, str],
) -> None:
    def said() -> bool:
        findings = moving_in_findings(settings(environ), Path(environ["AR_SYNC_REMOTE_BKP_FLDR"]))
        return any("no archive of the old sender is in" in one.problem for one in findings)

    assert said()
    (Path(environ["AR_SYNC_REMOTE_BKP_FLDR"]) / "complete" / WAITING.removeprefix("NEW_")).touch()
    assert not said()


def test_folders_that_the_services_do_not_see_are_named(
    environ: dict[str, str], tmp_path: Path
) -> None:
    hidden = tmp_path / "machine/home/viz/media"
    hidden.mkdir(parents=True)
    (tmp_path / "machine/srv/link").symlink_to(hidden)
    for path in (hidden, tmp_path / "machine/srv/link"):
        (line,) = found(environ | {"AR_SYNC_RECEIVER_MEDIA_FLDR": str(path)})
        assert "hidden from services" in line


@pytest.fixture
def sender(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "machine/srv/scratch").mkdir()
    for name in ("known_hosts", "key"):
        (tmp_path / "machine/srv" / name).touch()
    return {
        "AR_SYNC_SENDER_DATABASE_URL": "postgresql://app@127.0.0.1:1/app",
        "AR_SYNC_SENDER_MEDIA_FLDR": environ["AR_SYNC_RECEIVER_MEDIA_FLDR"],
        "AR_SYNC_TMP_BKP_FLDR": str(tmp_path / "machine/srv/scratch"),
        "AR_SYNC_REMOTE_HOST": "viz",
        "AR_SYNC_PRIVATE_KEY": str(tmp_path / "machine/srv/key"),
        "AR_SYNC_REMOTE_USER": "viz",
        "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
        "AR_SYNC_KNOWN_HOSTS": str(tmp_path / "machine/srv/known_hosts"),
    }


@pytest.mark.parametrize(
    "variable", ["AR_SYNC_KNOWN_HOSTS", "AR_SYNC_PRIVATE_KEY", "AR_SYNC_CATALOG"]
)
def test_files_that_the_services_do_not_see_are_named(
    sender: dict[str, str], tmp_path: Path, variable: str
) -> None:
    assert [*of_sender(sender, tmp_path)] == []
    hidden = tmp_path / "machine/root/file"
    hidden.parent.mkdir()
    hidden.touch()
    (line,) = of_sender(sender | {variable: str(hidden)}, tmp_path)
    assert f"{hidden} is hidden from services" in line


@pytest.mark.parametrize("option", ["passfile", "sslrootcert", "sslcert", "sslkey"])
def test_files_of_the_database_that_the_services_do_not_see_are_named(
    sender: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    hidden, url = tmp_path / "machine/root/file", sender["AR_SYNC_SENDER_DATABASE_URL"]
    (line,) = of_sender(
        sender | {"AR_SYNC_SENDER_DATABASE_URL": f"{url}?{option}={hidden}"}, tmp_path
    )
    assert f"the {option} of the database {hidden} is hidden" in line
    monkeypatch.setenv(f"PG{option.upper()}", str(hidden))
    assert len(of_sender(sender, tmp_path)) == 1


def test_password_file_of_root_is_named_where_it_is_used(
    sender: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "machine/root"
    root.mkdir()
    monkeypatch.setenv("HOME", str(root))
    assert of_sender(sender, tmp_path) == []
    (root / ".pgpass").touch()
    (line,) = of_sender(sender, tmp_path)
    assert "the password file" in line
    monkeypatch.setenv("PGPASSWORD", "x")
    assert of_sender(sender, tmp_path) == []


def of_sender(environ: dict[str, str], tmp_path: Path) -> list[str]:
    findings = moving_in_findings(load_sender_settings(environ), tmp_path / "machine")
    return [str(one) for one in findings]


def test_command_adds_its_findings_to_those_of_the_check(environ: dict[str, str]) -> None:
    wait_in(environ)
    areas = {}
    for words in ([], ["--moving-in"]):
        shown = CliRunner().invoke(main, ["check", "--json", *words], env=environ)
        areas[len(words)] = {one["area"] for one in json.loads(shown.stdout)["findings"]}
    assert "moving in" in areas[1] - areas[0]


def test_certificates_of_the_machine_are_no_file(
    sender: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "machine/root"
    folder.mkdir()
    monkeypatch.chdir(folder)
    url = f"{sender['AR_SYNC_SENDER_DATABASE_URL']}?sslrootcert=system"
    assert [*of_sender(sender | {"AR_SYNC_SENDER_DATABASE_URL": url}, tmp_path)] == []


@pytest.mark.parametrize("job", ["manage.py crontab run 2ee", "run.sh # AndroidRequestsBackups"])
def test_passwords_in_a_cron_line_are_not_shown(
    environ: dict[str, str], tmp_path: Path, job: str
) -> None:
    crontab = tmp_path / "machine/etc/crontab"
    crontab.parent.mkdir(parents=True)
    crontab.write_text(
        f"# a comment\n*/5 * * * * viz PGPASSWORD=hunter2 /srv/{job} --key=hunter2\n"
    )
    (line,) = found(environ)
    assert "(line 2: " in line
    assert "hunter2" not in line
