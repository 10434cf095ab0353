"""Check whether the receiver's tables match the catalog and can be loaded by this role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Manifest, TableManifest
from ar_sync_pipeline.catalog.labels import is_literal
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.acting_role import acting_role
from ar_sync_pipeline.postgres.checks.event_triggers import event_trigger_findings
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.firing_triggers import (
    replica_mode_findings,
    suppresses_side_effects,
    trigger_findings,
)
from ar_sync_pipeline.postgres.checks.named_schemas import named_schemas
from ar_sync_pipeline.postgres.checks.outside_tables import outside_findings
from ar_sync_pipeline.postgres.checks.receiver_columns import column_findings
from ar_sync_pipeline.postgres.checks.rights import (
    check_functions,
    check_rights,
    check_types,
    or_script,
    role_script,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.gate import (
    FREE_TRANSFORMED,
    key_mismatches,
    keys_of_transformed,
    refusing_columns,
)
from ar_sync_pipeline.postgres.ledger_tables import LEDGER_IS_COMPLETE
from ar_sync_pipeline.postgres.relations import (
    patterns_without_relation,
    relations_in_place_of_tables,
)
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.visible_text import visible, visible_name

_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
# By the system catalogs: a cast to regclass fails if the role may not use the schema.
_UNLOGGED = """
WITH replicated AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE (n.nspname, c.relname) = (%s, %s))
SELECT n.nspname, c.relname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relpersistence = 'u' AND c.relkind = 'r'
   AND c.oid IN (SELECT oid FROM replicated
                 UNION ALL
                 SELECT p.relid FROM replicated r, pg_partition_tree(r.oid) AS p)
 ORDER BY n.nspname, c.relname
"""
# A load writes to each of them, and adds what a newer version needs.
_FOREIGN_LEDGER_TABLES = """
SELECT c.relname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'ar_sync' AND c.relkind = 'r' AND NOT pg_has_role(c.relowner, 'USAGE')
   AND NOT (%s AND has_table_privilege(c.oid, 'INSERT'))
 ORDER BY c.relname
"""
_MAY_USE_LEDGER = "SELECT has_schema_privilege(to_regnamespace('ar_sync'), 'USAGE')"
# A list of privileges in one call asks for any of them. CREATE makes what is missing.
_MAY_WRITE_LEDGER = """
SELECT CASE WHEN to_regnamespace('ar_sync') IS NULL
            THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege('ar_sync', 'USAGE')
                 AND (has_schema_privilege('ar_sync', 'CREATE') OR %s) END
"""


def check_receiver_tables(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    newest: Manifest | None = None,
    complete: Manifest | None = None,
) -> list[Finding]:
    """Return what prevents archives from being loaded, and what fires for replicated rows.

    Args:
        tables: Facts of the replicated tables that the receiver has, by label.
        newest: Manifest of the sender's newest archive, which contains the keys of its tables.
        complete: Manifest of its newest complete; a partial lacks the tables without a change.
    """
    sent = {table.name: table for table in newest.tables} if newest else {}
    keys = {table.name: table for table in complete.tables} if complete else {}
    keys |= sent
    in_place = relations_in_place_of_tables(connection, catalog)
    findings = list(_missing(catalog, tables, keys, in_place))
    staged = [
        column
        for table in tables.values()
        for column in table.replicated(catalog.rules(table.name).not_replicated)
    ]
    findings += check_rights(
        connection,
        tables,
        _RIGHTS,
        role_script("receiver"),
        staged,
        schemas=named_schemas(connection, tables.values()),
    )
    # Rows are copied whole before they are changed.
    copied = [(table, column.name) for table in tables.values() for column in table.columns]
    findings += check_types(connection, copied, role_script("receiver"))
    given = {
        name: _given_columns(catalog.rules(name), table, sent.get(name))
        for name, table in tables.items()
    }
    findings += check_functions(connection, tables.values(), given, role_script("receiver"))
    findings += replica_mode_findings(connection)
    may_suppress = suppresses_side_effects(connection)
    outside = outside_findings(connection, catalog, tables.values(), verifies=may_suppress)
    findings += [found for found in outside if found not in findings]
    findings += event_trigger_findings(connection, "load", replica=may_suppress)
    for table in tables.values():
        findings += trigger_findings(connection, catalog, table, may_suppress=may_suppress)
        findings += _unlogged(connection, table)
        findings += column_findings(connection, catalog, table)
        findings += _key(connection, catalog, table, keys.get(table.name))
        findings += _transformed_keys(catalog, table, tables)
        findings += _refusing(catalog, table, sent.get(table.name))
        findings += _children(catalog, table, tables, (newest and newest.references) or ())
    findings += _unused_receiver_tables(connection, catalog)
    is_complete = _has_complete_ledger(connection)
    if not scalar(connection, _MAY_WRITE_LEDGER, [is_complete]):
        role = acting_role(connection).as_string(connection)
        make = (
            f"CREATE SCHEMA IF NOT EXISTS ar_sync; ALTER SCHEMA ar_sync OWNER TO {role};"
            # An owner may have lost them by REVOKE.
            f" GRANT USAGE, CREATE ON SCHEMA ar_sync TO {role};"
        )
        findings.append(
            Finding(
                Level.ERROR,
                "the ledger in schema ar_sync cannot be written by this role",
                or_script(connection, make.rstrip(";"), role_script("receiver")),
                sql=make,
                of_role=True,
            )
        )
    findings += _ledger_rights(connection, role_script("receiver"), is_complete=is_complete)
    return findings


def _transformed_keys(
    catalog: Catalog, table: TableFacts, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    """Yield keys that use columns which the transform changes in place."""
    columns = [column.name for column in table.columns]
    for problem in keys_of_transformed(catalog, table, tables, columns):
        yield Finding(Level.ERROR, f"{problem}, so archives are parked", FREE_TRANSFORMED)


def _given_columns(rules: TableRules, table: TableFacts, sent: TableManifest | None) -> set[str]:
    """Return the columns to which a load gives a value in a new row."""
    shared = {column.name for column in (sent or table).columns}
    return (shared - rules.not_replicated) | {*rules.reset_on_change, *rules.clear_on_change}


def _missing(
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    sent: Iterable[str],
    in_place: Mapping[str, str],
) -> Iterator[Finding]:
    """Yield the tables that the receiver lacks.

    Args:
        sent: Tables of the sender's archives.
        in_place: As of `relations_in_place_of_tables`.
    """
    named = catalog.named_tables()
    instead = {label for label in in_place if label in named or label in sent}
    for label in named:
        if label not in tables and label not in instead:
            yield missing_table(label)
    for pattern in catalog.tables:
        if is_literal(pattern) or any(catalog.matches_any((pattern,), label) for label in tables):
            continue
        found = {label for label in in_place if catalog.matches_any((pattern,), label)}
        instead |= found
        if not found:
            yield Finding(
                Level.WARNING if tables else Level.ERROR,
                f"`{pattern}` of `tables` matches no table of the receiver",
                "create the tables by the application's migrations, or correct the catalog",
            )
    for label in sorted(instead):
        yield _no_table(label, in_place[label])


def _no_table(label: str, kind: str) -> Finding:
    return Finding(
        Level.WARNING,
        f"{label} is a {kind} at the receiver and no table, so that archives with it are parked",
        "rename or drop it and create the table by the application's migration, or correct the"
        " catalog",
    )


def missing_table(label: str) -> Finding:
    """Return the finding on a table that the catalog names and the receiver lacks.

    It is no error: the sender may lack the table too.
    """
    return Finding(
        Level.WARNING,
        f"table {label} is not in the receiver's database, so that archives with it are parked",
        "create it by the application's migration, or correct the catalog",
    )


def _refusing(catalog: Catalog, table: TableFacts, sent: TableManifest | None) -> Iterator[Finding]:
    """Yield findings on columns that refuse the rows of the sender's newest archive."""
    for problem in refusing_columns(sent, catalog, table) if sent is not None else ():
        yield Finding(
            Level.WARNING,
            f"{problem}, so archives are parked unless AR_SYNC_SCHEMA_DRIFT is ignore",
            "migrate the side that is behind: the sender, or the receiver (DROP NOT NULL, SET"
            " DEFAULT or DROP EXPRESSION there)",
        )


def _children(
    catalog: Catalog,
    table: TableFacts,
    tables: Mapping[str, TableFacts],
    references: Iterable[str],
) -> Iterator[Finding]:
    """Yield findings on children by which no load finds the parents that it has to reset.

    Args:
        references: Foreign keys of the sender, as `ForeignKey.definition`.
    """
    rules, name = catalog.rules(table.name), visible_name(table.name)
    for child in rules.children if rules.reset_on_change or rules.clear_on_change else ():
        held = tables.get(child)
        if held is None or any(key.referenced_table == table.name for key in held.foreign_keys):
            continue
        here, there = f"{child} (", f") -> {table.name} ("
        known = next((one for one in references if one.startswith(here) and there in one), None)
        yield Finding(
            Level.ERROR,
            f"table {visible_name(child)} of `children` has no foreign key to {name} at the"
            " receiver, so no load resets the parent of a changed child, and its results stay old",
            f"ALTER TABLE there: ADD FOREIGN KEY (...) REFERENCES {name} NOT VALID, as the sender"
            f" has it{f': {visible(known)}' if known else ''}; then set the columns of"
            f" `reset_on_change` in rows of {name} whose children came before",
        )


def _key(
    connection: Connection, catalog: Catalog, table: TableFacts, sent: TableManifest | None
) -> Iterator[Finding]:
    """Yield findings if the receiver's table lacks the key that the sender's table has."""
    if sent is not None:
        for problem in key_mismatches(sent, table):
            kind = "UNIQUE" if table.primary_key else "PRIMARY KEY"
            statement = sql.SQL("ALTER TABLE {} {}ADD {} ({})").format(
                table.relation,
                sql.Composed(
                    [
                        sql.SQL("ALTER {} SET NOT NULL, ").format(sql.Identifier(name))
                        for name in table.nullable(sent.primary_key)
                    ]
                ),
                sql.SQL(kind),
                sql.SQL(", ").join(map(sql.Identifier, sent.primary_key)),
            )
            text = statement.as_string(connection)
            yield Finding(Level.ERROR, f"{problem}, so archives are parked", text, sql=f"{text};")
    elif not table.key:
        yield lacking_key(catalog, table)


def lacking_key(catalog: Catalog, table: TableFacts) -> Finding:
    """Return the finding on a table without a key, where the sender's table is not known.

    It is an error only if the sender's table must have a key.
    """
    rules = catalog.rules(table.name)
    too_large = table.size_mb > catalog.whole_table_limit_mb
    needed = too_large or rules.changed_at or rules.receiver_columns
    remedy = "give it the key that the sender's table has"
    return Finding(
        Level.ERROR if needed else Level.NOTE,
        f"table {table.name} has {table.lacking_key} at the receiver, so archives are parked"
        " where the sender's has one",
        remedy if needed else f"{remedy}; if that has none, nothing is to be done",
    )


def _unlogged(connection: Connection, table: TableFacts) -> Iterator[Finding]:
    """Yield a finding on a table, or partitions of it, that a crash of the server empties."""
    found = connection.execute(_UNLOGGED, table.place).fetchall()
    if not found:
        return
    statements = [
        sql.SQL("ALTER TABLE {} SET LOGGED").format(sql.Identifier(*place)).as_string(connection)
        for place in found
    ]
    yield Finding(
        Level.WARNING,
        f"table {table.name} is UNLOGGED, so a crash of the server empties it until the sender's"
        " next complete",
        f"{statements[0]}{'; the same for its other partitions' if statements[1:] else ''}",
        sql="".join(f"{statement};" for statement in statements),
    )


def _has_complete_ledger(connection: Connection) -> bool:
    # In a query of its own: the planner calls to_regclass, which fails without USAGE.
    may_use = scalar(connection, _MAY_USE_LEDGER)
    return bool(may_use and scalar(connection, f"SELECT {LEDGER_IS_COMPLETE}"))


def _ledger_rights(connection: Connection, script: str, *, is_complete: bool) -> Iterator[Finding]:
    """Yield findings on tables of the ledger that another role owns: only it can alter them."""
    rows = connection.execute(_FOREIGN_LEDGER_TABLES, [is_complete]).fetchall()
    role = acting_role(connection)
    for (name,) in rows:
        statement = sql.SQL("ALTER TABLE {} OWNER TO {}").format(
            sql.Identifier("ar_sync", name), role
        )
        text = statement.as_string(connection)
        yield Finding(
            Level.ERROR,
            f"table ar_sync.{name} of the ledger cannot be written by this role",
            or_script(connection, text, script),
            sql=f"{text};",
            of_role=True,
        )


def _unused_receiver_tables(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    for pattern in patterns_without_relation(connection, catalog, catalog.receiver_tables):
        yield Finding(
            Level.WARNING,
            f"`{pattern}` of `receiver_tables` matches nothing in the receiver's database",
            "correct it, create the table by the receiver's migration, or remove it from the"
            " catalog",
        )
