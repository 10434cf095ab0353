"""The tables whose rows violate a constraint together, from an error of the database."""

from __future__ import annotations

import psycopg

from ar_sync_pipeline.merge.receiver_references import References

_BETWEEN_ROWS = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.ForeignKeyViolation,
)


def violated_tables(error: psycopg.Error, references: References) -> frozenset[str]:
    """Return the tables whose rows contradict each other; empty if it is not about several rows.

    Those of the receiver's own foreign keys are left out: the sender's rows cannot satisfy them.
    """
    if not isinstance(error, _BETWEEN_ROWS):
        return frozenset()
    where = (error.diag.schema_name, error.diag.table_name)
    found = [facts for facts in references.tables.values() if facts.place == where]
    keys = [k for one in found for k in one.foreign_keys if k.name == error.diag.constraint_name]
    if any(references.receiver_only_columns(key) for key in keys):
        return frozenset()
    return frozenset({facts.name for facts in found} | {key.referenced_table for key in keys})
