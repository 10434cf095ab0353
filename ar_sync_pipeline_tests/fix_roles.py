"""The roles of deploy/sql, created with psql as an administrator does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres

SCRIPTS = Path(__file__).parents[1] / "deploy" / "sql"

RoleScript = Callable[..., str]
"""Runs a script (``sender`` or ``receiver``) in a database and returns the role's URL.

It must say ``warning``, and nothing without one.

Roles belong to the whole server, so each database gets its own, named after it.
"""


def superuser(url: str) -> str:
    """Return the URL of the same database for its superuser."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"postgres@{parts.hostname}:{parts.port}").geturl()


@pytest.fixture
def role_script(postgres_server: EmbeddedPostgres) -> RoleScript:
    def run(side: str, url: str, *, warning: str = "", **variables: str) -> str:
        database = urlsplit(url)
        role = f"ar_sync {side} of {database.path[1:]}"
        given = {"role": role} | variables
        done = subprocess.run(
            [
                postgres_server.binaries.program("psql"),
                "--no-psqlrc",
                *(f"--set={name}={value}" for name, value in given.items()),
                f"--file={SCRIPTS / f'{side}_role.sql'}",
                url,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PGCLIENTENCODING": "UTF8"},
        )
        assert (done.returncode, done.stdout) == (0, ""), done
        assert warning in done.stderr if warning else not done.stderr, done.stderr
        return database._replace(
            netloc=f"{role.replace(' ', '%20')}@{database.hostname}:{database.port}"
        ).geturl()

    return run
