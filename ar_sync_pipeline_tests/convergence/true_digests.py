"""What the manifest of a complete says of each chunk, compared with the rows themselves."""

from __future__ import annotations

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.masking import set_pseudonym_key
from ar_sync_pipeline.export.source_tables import exported_table, replicated_tables
from ar_sync_pipeline.export.table_export import chunk_whole_table
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.digest import ChunkDigest
from ar_sync_pipeline.sync.dump.table_dump import TableDump


def assert_digests_are_true(
    dump: TableDump, url: str, catalog: Catalog, pseudonym_key: str | None
) -> None:
    """Compute all digests again; nothing was committed since the dump."""
    found = {}
    with connect(url, application="test") as connection, connection.transaction():
        set_pseudonym_key(connection, pseudonym_key)
        for name, facts in replicated_tables(connection, catalog).items():
            queries = chunk_whole_table(connection, exported_table(catalog, facts))
            found[name] = {query.key_range: query.content for query in queries}
    said = {
        table.name: {c.key_range: ChunkDigest(c.row_count, c.digest) for c in table.chunks}
        for table in dump.tables
    }
    assert said == found
