"""Files of the media folder that came from the sender: only those are ever removed.

The table is maintained while ``AR_SYNC_MEDIA_DELETE`` is on, in the transaction that applies an
archive. A file that no applied archive has listed is receiver-only and is not recorded. Nor is one
whose path the index or the encoding of the database does not take; it is never removed.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import creating_tables
from ar_sync_pipeline.postgres.scalar import scalar


@dataclass(frozen=True)
class KnownFile:
    """A file as described by the newest archive that listed it.

    Attributes:
        path: Path relative to the media folder.
    """

    path: str
    size_bytes: int
    sha256: str


def ensure_media_files(connection: Connection) -> None:
    """Create the table if it is missing; after `ensure_ledger`, which creates its schema."""
    if scalar(connection, "SELECT to_regclass('ar_sync.media_file')") is None:
        with creating_tables(connection):
            connection.execute(_DDL)


def remember_media(
    connection: Connection,
    manifest: Manifest,
    media: Iterable[ListedMedia],
    is_left_out: Callable[[ListedMedia], bool],
) -> str | None:
    """Record every file that an archive lists, in the transaction that applies the archive.

    Args:
        media: Files that the archive lists.
        is_left_out: Whether this receiver does not install a file. If it is recorded, it was
            installed before and stays recorded, because the sender still has it.

    Returns:
        The first path that cannot be recorded; None: there is none.
    """
    connection.execute(_STAGE)
    codec, unrecorded, any_left_out = _codec(connection), None, False
    with connection.cursor() as cursor:
        with cursor.copy("COPY pg_temp.ar_sync_listed FROM STDIN") as copy:
            for entry in media:
                left_out = is_left_out(entry)
                if not left_out and not _is_storable(entry.path, codec):
                    # An index entry is compressed: one that is repetitive may have been recorded.
                    left_out, unrecorded = True, unrecorded or entry.path
                any_left_out = any_left_out or left_out
                path = entry.path.encode()
                copy.write_row((path, entry.size_bytes, entry.sha256, left_out))
        cursor.execute(_MERGE, [manifest.snapshot_at])
        if any_left_out:  # it reads the whole table
            cursor.execute(_KEEP_LEFT_OUT, [manifest.snapshot_at])
        if manifest.media_omitted:
            # A file that could not be read at the sender still exists there.
            omitted = [name.encode() for name in manifest.media_omitted]
            cursor.execute(_KEEP_FILES, [manifest.snapshot_at, omitted])
            folders = [name for name in omitted if name.endswith(b"/")]
            cursor.execute(_KEEP_FOLDERS, [manifest.snapshot_at, folders])
    connection.execute("DROP TABLE pg_temp.ar_sync_listed")
    return unrecorded


def count_media(connection: Connection, *, listed_before: datetime | None = None) -> int:
    """Return how many files are recorded, optionally only those that no later archive lists."""
    return (
        scalar(
            connection,
            "SELECT count(*) FROM ar_sync.media_file"
            " WHERE %(before)s::timestamptz IS NULL OR listed_at < %(before)s",
            {"before": listed_before},
        )
        or 0
    )


def media_listed_before(
    connection: Connection, instant: datetime, *, after: str, limit: int
) -> list[KnownFile]:
    """Return the next files in order that no archive since has listed.

    Args:
        instant: Snapshot of the first archive that counts.
        after: Path of the last file before; empty: none.
        limit: Number of files at most.
    """
    with connection.cursor(row_factory=class_row(KnownFile)) as cursor:
        return cursor.execute(
            "SELECT path, size_bytes, sha256 FROM ar_sync.media_file WHERE listed_at < %s"
            " AND path > %s ORDER BY path LIMIT %s",
            [instant, after, limit],
        ).fetchall()


def forget_media(connection: Connection, paths: Sequence[str]) -> None:
    """Delete the records of files that are removed or have become receiver-only."""
    connection.execute("DELETE FROM ar_sync.media_file WHERE path = ANY(%s)", [list(paths)])


def _codec(connection: Connection) -> str:
    """Return Python's codec of the encoding of the database.

    SQL_ASCII stores any bytes. One that Python does not know, or knows with other characters, is
    taken for ASCII: they are those of East Asia, and the files with other names are kept.
    """
    name = connection.info.parameter_status("server_encoding") or ""
    if name == "SQL_ASCII":
        return "utf-8"
    if name == "EUC_JIS_2004":
        return "ascii"
    try:
        return codecs.lookup(name.replace("WIN", "CP").replace("KOI8", "KOI8_")).name
    except LookupError:
        return "ascii"


def _is_storable(path: str, codec: str) -> bool:
    try:
        path.encode(codec)
    except UnicodeEncodeError:
        return False
    if codec == "euc_jp" and not _REFUSED_IN_EUC_JP.isdisjoint(path):
        return False
    return len(path.encode()) <= _LONGEST_BYTES


# Python encodes them.
_REFUSED_IN_EUC_JP = frozenset("\u00a2\u00a3\u00a5\u00ac\u2016\u203e\u2212\u301c")
# An entry of a B-tree has at most 2,704 bytes (PostgreSQL manual, "B-Tree Indexes").
_LONGEST_BYTES = 2_600

_DDL = """
CREATE TABLE IF NOT EXISTS ar_sync.media_file (
    path       text PRIMARY KEY,
    size_bytes bigint NOT NULL,
    sha256     text NOT NULL,
    listed_at  timestamptz NOT NULL
);
COMMENT ON TABLE ar_sync.media_file IS
    'Files of the media folder that the sender had, with the snapshot that listed them last';
"""

# Paths are staged and compared in UTF-8, since the encoding of the database may lack a character.
_STAGE = """
CREATE TEMPORARY TABLE ar_sync_listed
    (path bytea, size_bytes bigint, sha256 text, is_left_out boolean) ON COMMIT DROP
"""

_MERGE = """
INSERT INTO ar_sync.media_file AS known
SELECT convert_from(path, 'UTF8'), size_bytes, sha256, %s
FROM pg_temp.ar_sync_listed WHERE NOT is_left_out
ON CONFLICT (path) DO UPDATE SET
    size_bytes = excluded.size_bytes, sha256 = excluded.sha256, listed_at = excluded.listed_at
WHERE known.listed_at <= excluded.listed_at
"""

_KEEP_LEFT_OUT = """
UPDATE ar_sync.media_file AS known SET listed_at = greatest(listed_at, %s)
FROM pg_temp.ar_sync_listed AS listed
WHERE listed.is_left_out AND listed.path = convert_to(known.path, 'UTF8')
"""

_KEEP_FILES = """
UPDATE ar_sync.media_file AS known SET listed_at = greatest(listed_at, %s)
FROM (SELECT DISTINCT unnest(%s::bytea[]) AS path) AS omitted
WHERE omitted.path = convert_to(known.path, 'UTF8')
"""

# Folders of the paths are compared for equality: a comparison of each path with each folder, of
# which there may be 100,000, takes hours.
_KEEP_FOLDERS = """
UPDATE ar_sync.media_file AS known SET listed_at = greatest(listed_at, %s)
FROM (SELECT DISTINCT path
        FROM ar_sync.media_file
        CROSS JOIN string_to_array(path, '/') AS parts (names)
        CROSS JOIN generate_series(1, cardinality(names) - 1) AS depth
        JOIN unnest(%s::bytea[]) AS omitted (folder)
          ON omitted.folder = convert_to(array_to_string(names[:depth], '/') || '/', 'UTF8')
     ) AS found
WHERE found.path = known.path
"""
