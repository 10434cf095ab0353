from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.errors import EmbeddedPostgresError, PostgresBinariesMissingError
from ar_sync_pipeline.demo.postgres_binaries import find_postgres_binaries, wheel_postgres_binaries
from ar_sync_pipeline.demo.server_account import reachable_folder, server_account
from ar_sync_pipeline_tests.missing_parts import skipif_unless_in_ci
from ar_sync_pipeline_tests.running_processes import is_running

as_root = skipif_unless_in_ci(os.geteuid() != 0, "only root has to step down")

_SERVE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
_SERVE_AS_NORMAL_USER = """
import os, sys
from pathlib import Path
import psycopg
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
folder, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
# Only now, since the interpreter may live in a folder that is root's alone.
os.setgroups([]), os.setgid(gid), os.setuid(uid)
with EmbeddedPostgres(folder) as server:
    server.create_database("made")
    print(server.folder == folder, flush=True)
server.destroy()
"""


def test_databases_survive_a_restart_and_go_with_destroy(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "cluster")
    try:
        with server:
            with psycopg.connect(server.create_database("kept")) as connection:
                connection.execute("CREATE TABLE t AS SELECT 1 AS a")
            first = server.process_id
        assert not is_running(first)
        with server, psycopg.connect(server.url("kept")) as connection:
            assert connection.execute("SELECT a FROM t").fetchone() == (1,)
    finally:
        server.destroy()
    assert not server.folder.exists()


def test_stopped_server_has_no_url(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        EmbeddedPostgres(tmp_path).url()


@pytest.mark.long
def test_stop_breaks_open_connections(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "cluster")
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            server.stop()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
    finally:
        server.destroy()


@pytest.mark.long
def test_leftover_of_a_killed_run_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    killed = subprocess.run(
        [sys.executable, "-c", _SERVE_AND_DIE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    orphan = int(killed.stdout)
    assert is_running(orphan)
    server = EmbeddedPostgres(folder)
    try:
        with server:
            assert not is_running(orphan)
            assert server.process_id != orphan
    finally:
        server.destroy()


@pytest.mark.long
def test_leftover_is_stopped_by_destroy_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    killed = subprocess.run(
        [sys.executable, "-c", _SERVE_AND_DIE, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    orphan = int(killed.stdout)
    EmbeddedPostgres(folder).destroy()
    assert not is_running(orphan)


def test_stale_lock_file_of_a_reused_process_id_is_harmless(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "cluster")
    try:
        server.start()
        server.stop()
        (server.folder / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
        EmbeddedPostgres(tmp_path / "cluster").destroy()
    finally:
        server.destroy()
    assert not server.folder.exists()


def test_folder_of_another_major_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "cluster")
    try:
        server.start()
        server.stop()
        (server.folder / "data" / "PG_VERSION").write_text("9\n")
        with pytest.raises(EmbeddedPostgresError, match="was made by PostgreSQL 9"):
            server.start()
    finally:
        server.destroy()


def test_password_is_asked_for_and_carried_by_the_url(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "cluster", password="se cret/%ñ")
    try:
        with server:
            psycopg.connect(server.url()).close()
            bare = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(bare)
            assert not (server.folder / "password").exists()
    finally:
        server.destroy()


@pytest.mark.long
def test_wheel_binaries_serve_too(tmp_path: Path) -> None:
    binaries = wheel_postgres_binaries()
    assert binaries is not None
    server = EmbeddedPostgres(tmp_path / "cluster", binaries=binaries, durable=True)
    try:
        with server, psycopg.connect(server.url()) as connection:
            assert connection.info.server_version // 10_000 == binaries.major
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
    finally:
        server.destroy()


def test_database_encoding_and_time_zone_do_not_depend_on_the_machine(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert connection.execute("SELECT lower('Ñ')").fetchone() == ("ñ",)


def test_folder_named_in_the_environment_must_hold_a_server(tmp_path: Path) -> None:
    with pytest.raises(PostgresBinariesMissingError, match="AR_SYNC_TEST_PG_BIN"):
        find_postgres_binaries({"AR_SYNC_TEST_PG_BIN": str(tmp_path)})


@as_root
def test_root_serves_as_an_unprivileged_user(postgres_server: EmbeddedPostgres) -> None:
    owner = Path(f"/proc/{postgres_server.process_id}").stat().st_uid
    assert pwd.getpwuid(owner).pw_name in {"postgres", "nobody"}


@as_root
def test_closed_parents_are_left_closed_and_a_stand_in_is_used(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stand_in = reachable_folder(closed / "cluster", server_account())
    assert not stand_in.is_relative_to(tmp_path)
    assert stand_in == reachable_folder(closed / "cluster", server_account())
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.long
def test_programs_in_a_closed_folder_are_reached_by_a_copy(tmp_path: Path) -> None:
    binaries = wheel_postgres_binaries()
    assert binaries is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    prefix = binaries.folder.parent
    package = prefix.parent
    (closed / package.name).mkdir()
    subprocess.run(["cp", "-a", prefix, closed / package.name], check=True)
    subprocess.run(["cp", "-a", package.with_name(f"{package.name}.libs"), closed], check=True)
    moved = find_postgres_binaries(
        {"AR_SYNC_TEST_PG_BIN": str(closed / package.name / prefix.name / "bin")}
    )
    server = EmbeddedPostgres(tmp_path / "cluster", binaries=moved)
    try:
        with server:
            assert server.port > 0
    finally:
        server.destroy()


@as_root
@pytest.mark.long
def test_normal_user_serves_in_the_very_folder() -> None:
    account = pwd.getpwnam("nobody")
    folder = Path("/tmp") / f"ar-sync-normal-user-{os.getpid()}"  # noqa: S108 needs a folder that others can enter
    folder.mkdir(mode=0o700)
    os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-c", _SERVE_AS_NORMAL_USER, folder / "cluster"),
                *(str(account.pw_uid), str(account.pw_gid)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        left = sorted(folder.iterdir())
        folder.rmdir()
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert left == []
