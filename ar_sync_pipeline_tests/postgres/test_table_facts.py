"""Facts of tables that a catalog query returns."""

from __future__ import annotations

from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts, UniqueKey


def test_primary_key_without_overlaps_is_named_as_the_reason_for_having_no_key() -> None:
    """PostgreSQL 18 stores it as an exclusion constraint."""
    columns = ("id", "during")
    key = UniqueKey(
        "t_pkey", columns, ("=", "&&"), columns, None, columns, exclusion=True, primary=True
    )
    facts = TableFacts(
        "t",
        tuple(ColumnFacts(name, "integer", nullable=False, generated=False) for name in columns),
        primary_key=columns,
        unique_keys=(key,),
    )
    assert "WITHOUT OVERLAPS, which is not used as a key" in facts.lacking_key
    assert "no primary key" not in facts.lacking_key
