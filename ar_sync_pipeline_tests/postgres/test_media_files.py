"""What the receiver records of listed media files, whatever their paths are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.member_names import name_problem
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.ledger_tables import ensure_ledger
from ar_sync_pipeline.postgres.media_files import (
    ensure_media_files,
    media_listed_before,
    remember_media,
)
from ar_sync_pipeline_tests.long_paths import long_path

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


class Listing:
    """The part of a manifest that `remember_media` reads."""

    def __init__(self, day: int, *omitted: str) -> None:
        self.snapshot_at = FIRST + timedelta(days=day)
        self.media_omitted = omitted


def remember(
    connection: Connection, day: int, *paths: str, omitted: tuple[str, ...] = ()
) -> str | None:
    sha256 = hashlib.sha256(b"x").hexdigest()
    entries = [MediaEntry(path=p, size_bytes=1, sha256=sha256, modified_at=FIRST) for p in paths]
    with connection.transaction():
        manifest = cast("Manifest", Listing(day, *omitted))
        return remember_media(connection, manifest, entries, lambda _: False)


def absent(connection: Connection, day: int) -> set[str]:
    before = FIRST + timedelta(days=day)
    return {one.path for one in media_listed_before(connection, before, after="", limit=100)}


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    with connect(empty_database, application="test") as connection:
        ensure_ledger(connection)
        ensure_media_files(connection)
        yield connection


def test_path_that_no_index_takes_is_not_recorded(connection: Connection) -> None:
    path = long_path()
    assert (name_problem(path), len(path.encode()) > 2704) == (None, True)
    assert remember(connection, 0, "a.jpeg", path, "ñ.jpeg") == path
    assert absent(connection, 1) == {"a.jpeg", "ñ.jpeg"}
    assert remember(connection, 1, "a.jpeg", omitted=(path, path + "/", "ñ.jpeg")) is None
    assert absent(connection, 1) == set()


def test_long_path_that_an_earlier_version_recorded_stays_listed(connection: Connection) -> None:
    path = "/".join(["寫" * 84] * 11) + "/a.jpeg"
    connection.execute("INSERT INTO ar_sync.media_file VALUES (%s, 1, '', %s)", [path, FIRST])
    assert absent(connection, 1) == {path}
    assert remember(connection, 1, path) == path
    assert absent(connection, 1) == set()


@pytest.mark.parametrize(
    ("encoding", "taken", "lacking"),
    [
        ("LATIN1", "ñ", "€"),
        ("WIN1252", "€", "ж"),
        ("KOI8R", "ж", "ñ"),
        ("EUC_JP", "写", "😀"),
        # Python's codecs take them, or there is none, and the server refuses them.
        ("EUC_JP", "写", "\u301c"),
        ("EUC_JIS_2004", "a", "\u0120"),
        ("EUC_TW", "a", "ñ"),
    ],
)
def test_path_that_the_encoding_of_the_database_lacks_is_not_recorded(
    empty_database: str, encoding: str, taken: str, lacking: str
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS encoded")
        server.execute(
            f"CREATE DATABASE encoded ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode()
        )
    with connect(other_database(empty_database), application="test") as connection:
        ensure_ledger(connection)
        ensure_media_files(connection)
        kept, files = f"{taken}/a.jpeg", f"{taken}.jpeg"
        assert remember(connection, 0, kept, files, f"{lacking}/b.jpeg") == f"{lacking}/b.jpeg"
        assert absent(connection, 1) == {kept, files}
        omitted = (f"{lacking}/", f"{lacking}.jpeg", f"{taken}/")
        assert remember(connection, 1, omitted=omitted) is None
        assert absent(connection, 1) == {files}
        assert remember(connection, 1, omitted=(files,)) is None
        assert absent(connection, 1) == set()


def other_database(url: str) -> str:
    return url.rpartition("/")[0] + "/encoded"
