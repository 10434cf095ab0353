"""Texts to be copied are not truncated: at 80 columns, in a pipe, on a dumb terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline_tests.archive.building import make_source, write_archive
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute

LONG = "a_schema_of_forty_letters_is_nothing_odd"
TABLE = "AndroidRequests_statistic_data_from_registration_bus"


def on_a_narrow_terminal(environment: dict[str, str], *words: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("AR_SYNC_")}
    done = subprocess.run(
        [sys.executable, "-c", "from ar_sync_pipeline.cli import main; main()", *words],
        env=own | {"COLUMNS": "80", "TERM": "dumb", "LC_ALL": "C"} | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_inspect_shows_whole_names_so_that_no_two_rows_are_alike(tmp_path: Path) -> None:
    names = [f"{schema}.{TABLE}_{end}" for schema in (LONG, f"{LONG}_2") for end in "ab"]
    source = make_source(tmp_path / "files", tables={name: [b"rows"] for name in names})
    archive = write_archive(tmp_path, source)
    lines = on_a_narrow_terminal({}, "inspect", str(archive)).splitlines()
    assert [line.split()[0] for line in lines[-5:-1]] == names
    assert lines[-6].split() == ["table", "rows", "chunks", "stored", "bytes", "raw", "bytes"]


def test_check_shows_fingerprint_paths_and_sql_on_one_line(deployment: Deployment) -> None:
    execute(deployment.sender_url, f'CREATE ROLE "{LONG}_{os.getpid()}" LOGIN')
    url = deployment.sender_url.replace("://", f"://{LONG}_{os.getpid()}@", 1)
    url = f"{url.partition('://')[0]}://{LONG}_{os.getpid()}@{url.rpartition('@')[2]}"
    deployment.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = url
    shown = on_a_narrow_terminal(deployment.sender_environment(), "check")
    execute(deployment.sender_url, f'DROP ROLE "{LONG}_{os.getpid()}"')
    assert f'    GRANT SELECT ON "public"."app_child" TO "{LONG}_{os.getpid()}";\n' in shown
    (host_key,) = [line for line in shown.splitlines() if line.startswith("host key")]
    assert "SHA256:" in host_key
    assert "the cipher" in host_key


@pytest.mark.long
def test_status_plan_and_retention_show_whole_names(deployment: Deployment) -> None:
    table = f"app_{LONG}"
    for url in (deployment.sender_url, deployment.receiver_url):
        execute(url, f"CREATE TABLE {table} (id int PRIMARY KEY)")
    execute(deployment.sender_url, f"INSERT INTO {table} VALUES (1)")
    deployment.succeed("complete_dump")
    (archive,) = (deployment.spool / "complete").iterdir()
    environment = deployment.receiver_environment()
    plan = on_a_narrow_terminal(environment, "plan", str(archive))
    assert [line.split()[:3] for line in plan.splitlines() if LONG in line] == [[table, "1", "1"]]
    applied = archive.name.removeprefix("NEW_")
    assert applied in on_a_narrow_terminal(environment, "status")
    assert archive.name in on_a_narrow_terminal(environment, "retention", "--dry-run")
    (deployment.spool / "complete" / archive.name).write_bytes(b"x" * 2000)
    deployment.run("complete_loaddata")
    status = on_a_narrow_terminal(environment, "status")
    (quarantined,) = [line for line in status.splitlines() if line.startswith("quarantined: ")]
    assert applied in quarantined


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_damaged_archive_has_one_remedy(tmp_path: Path, command: str) -> None:
    archive = write_archive(tmp_path, make_source(tmp_path / "files"))
    archive.write_bytes(archive.read_bytes()[:700])
    shown = CliRunner().invoke(main, [command, str(archive)])
    assert shown.exit_code == 1
    assert "the next partial or complete carries what it held" in shown.stderr
