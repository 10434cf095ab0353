"""Missing rights of a role, as the statements that grant them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.package_files import installed_path
from ar_sync_pipeline.postgres.acting_role import acting_role, acts_as_itself
from ar_sync_pipeline.postgres.checks.called_functions import uncallable_functions
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts
from ar_sync_pipeline.visible_text import visible_name

# An array has the rights of its elements, since version 17 a multirange those of its range. The
# role scripts have the same query.
_UNUSABLE_TYPES = """
SELECT DISTINCT coalesce(r.rngtypid, e.oid, a.atttypid)::regtype::text
  FROM unnest(%(schemas)s::text[], %(tables)s::text[], %(columns)s::text[])
    AS w (schema, relname, attname)
  JOIN pg_namespace n ON n.nspname = w.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.attname
  LEFT JOIN pg_type e ON e.typarray = a.atttypid
  LEFT JOIN pg_range r ON r.rngmultitypid = coalesce(e.oid, a.atttypid)
   AND current_setting('server_version_num')::int >= 170000
 WHERE NOT has_type_privilege(a.atttypid, 'USAGE')
 ORDER BY 1
"""


def role_script(side: str) -> str:
    """Return what grants a side's role all its rights."""
    script = installed_path(f"deploy/sql/{side}_role.sql")
    return f"the output of `ar-sync grants {side}`, or {script} with the catalog's variables"


def or_script(connection: Connection, statement: str, script: str) -> str:
    """Return a remedy: a statement, or a script, which gives rights to the role in the URL only."""
    return f"{statement}, or run {script}" if acts_as_itself(connection) else statement


def acting_role_findings(connection: Connection) -> Iterator[Finding]:
    """Yield a finding if the role in the URL acts as another one."""
    if acts_as_itself(connection):
        return
    database, login = connection.info.dbname, connection.info.user
    statement = sql.SQL("ALTER ROLE {} IN DATABASE {} SET role = 'none'").format(
        sql.Identifier(login), sql.Identifier(database)
    )
    other = visible_name(acting_role(connection).as_string(connection))
    yield Finding(
        Level.NOTE,
        f"sessions of role {visible_name(login)} act as {other} (by the setting `role` of the role,"
        " the database or the URL), so only rights of that role count, and what `ar-sync grants`"
        " gives has no effect",
        f"nothing is to be done if that is wanted; otherwise {statement.as_string(connection)}",
        of_role=True,
    )


def usage_grant(connection: Connection, schema: str) -> sql.Composed | None:
    """Return the statement that lets this connection's role use a schema; None if it may."""
    if _has(connection, "has_schema_privilege(%s, 'USAGE')", schema):
        return None
    return sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(
        sql.Identifier(schema), acting_role(connection)
    )


def check_rights(
    connection: Connection,
    tables: Mapping[str, TableFacts],
    wanted: Sequence[str],
    script: str,
    named: Iterable[ColumnFacts],
    catalog: Catalog | None = None,
    schemas: Iterable[str] = (),
) -> Iterator[Finding]:
    """Yield the missing rights of this connection's role on tables, their schemas and sequences.

    Args:
        wanted: Rights that the role needs, of SELECT, INSERT, UPDATE and DELETE.
        script: What grants all of them.
        named: Columns whose types the role's statements name.
        catalog: Catalog whose excluded columns need not be readable; None: whole tables are needed.
        schemas: Further schemas that the role's statements name.
    """
    role = acting_role(connection)
    if not _has(connection, "has_database_privilege(current_database(), 'TEMPORARY')"):
        statement = sql.SQL("GRANT TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(connection.info.dbname), role
        )
        database = f"database {connection.info.dbname}"
        yield lacking_right(connection, database, "TEMPORARY", statement, script)
    yield from _cluster_functions(connection, wanted, script)
    of_types = {column.type_schema for column in named if column.type_schema is not None}
    for schema in sorted({*of_types, *schemas, *(table.schema for table in tables.values())}):
        grant = usage_grant(connection, schema)
        if grant is not None:
            yield lacking_right(connection, f"schema {schema}", "USAGE", grant, script)
    for table in tables.values():
        lacking = [right for right in wanted if right in table.denied]
        rules = catalog.rules(table.name) if catalog else None
        if lacking and rules and rules.exclude:
            yield from _lacking_columns(connection, rules, table, role, script)
        elif lacking:
            yield lacking_right(
                connection,
                f"table {table.name}",
                ", ".join(lacking),
                sql.SQL("GRANT {} ON {} TO {}").format(_words(lacking), table.relation, role),
                script,
            )
        if table.policies:
            yield hidden_rows(connection, table.name, table.policies)
    on_sequences = [right for right in wanted if right in {"SELECT", "UPDATE"}]
    used = {
        column.sequence
        for table in tables.values()
        for column in table.replicated(catalog.rules(table.name).not_replicated if catalog else ())
        if column.sequence
    }
    for name in sorted(used):
        yield from _sequence(connection, name, on_sequences, script)


def check_functions(
    connection: Connection,
    tables: Iterable[TableFacts],
    given: Mapping[str, Collection[str]],
    script: str,
) -> Iterator[Finding]:
    """Yield the functions that writing rows of tables calls, and this connection's role may not.

    Args:
        given: Columns to which a load gives a value in a new row, by table.
    """
    role = acting_role(connection)
    for function in uncallable_functions(connection, tables, given):
        grant = sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(sql.SQL(function), role)
        yield lacking_right(connection, f"function {function}", "EXECUTE", grant, script)


def check_types(
    connection: Connection, columns: Iterable[tuple[TableFacts, str]], script: str
) -> Iterator[Finding]:
    """Yield the types of columns of temporary tables that this connection's role may not use.

    Args:
        columns: Columns that the temporary tables copy, with their tables.
    """
    places = [(*table.place, name) for table, name in columns]
    arguments = {
        "schemas": [schema for schema, _, _ in places],
        "tables": [table for _, table, _ in places],
        "columns": [name for _, _, name in places],
    }
    role = acting_role(connection)
    for (name,) in connection.execute(_UNUSABLE_TYPES, arguments):
        grant = sql.SQL("GRANT USAGE ON TYPE {} TO {}").format(sql.SQL(name), role)
        yield lacking_right(connection, f"type {name}", "USAGE", grant, script)


def columns_read(rules: TableRules, facts: TableFacts) -> tuple[str, ...]:
    """Return the columns that a dump reads, without excluded ones and those computed from them."""
    hidden = set(rules.exclude)
    return tuple(
        column.name
        for column in facts.columns
        if column.name not in hidden and hidden.isdisjoint(column.computed_from)
    )


def denied_columns(connection: Connection, facts: TableFacts, names: Sequence[str]) -> list[str]:
    """Return the columns of a table that this connection's role may not read."""
    rows = connection.execute(
        "SELECT c FROM unnest(%s::text[]) AS c"
        " WHERE NOT has_column_privilege(to_regclass(%s), c, 'SELECT')",
        [list(names), facts.relation.as_string(connection)],
    )
    return [name for (name,) in rows]


def column_grant(table: TableFacts, columns: Sequence[str], role: sql.Identifier) -> sql.Composed:
    """Return the statement that lets a role read columns of a table; the whole table if none."""
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    what = sql.SQL(" ({})").format(listed) if columns else sql.SQL("")
    return sql.SQL("GRANT SELECT{} ON {} TO {}").format(what, table.relation, role)


def _cluster_functions(
    connection: Connection, wanted: Sequence[str], script: str
) -> Iterator[Finding]:
    """Yield missing rights on what identifies the cluster; only dumps ask for its timeline."""
    asked = ("pg_control_system()", "pg_control_checkpoint()")
    role = acting_role(connection)
    for function in asked[:1] if "INSERT" in wanted else asked:
        if not _has(connection, "has_function_privilege(%s, 'EXECUTE')", f"pg_catalog.{function}"):
            execute = sql.SQL("GRANT EXECUTE ON FUNCTION pg_catalog.{} TO {}")
            statement = execute.format(sql.SQL(function), role)
            yield lacking_right(connection, f"function {function}", "EXECUTE", statement, script)


def _lacking_columns(
    connection: Connection,
    rules: TableRules,
    table: TableFacts,
    role: sql.Identifier,
    script: str,
) -> Iterator[Finding]:
    """Yield missing rights on single columns of a table; ``xmin`` is read to find changed rows."""
    if usage_grant(connection, table.schema) is not None:
        return  # reported for the schema; the table cannot even be looked up
    lacking = denied_columns(connection, table, (*columns_read(rules, table), "xmin"))
    if lacking:
        grant = column_grant(table, lacking, role)
        subject = f"column {', '.join(lacking)} of table {table.name}"
        yield lacking_right(connection, subject, "SELECT", grant, script)


def _sequence(
    connection: Connection, name: tuple[str, str], wanted: Sequence[str], script: str
) -> Iterator[Finding]:
    sequence = sql.Identifier(*name)
    if usage_grant(connection, name[0]) is not None:
        return  # reported for the schema; the sequence cannot even be looked up
    text = sequence.as_string(connection)
    lacking = [
        right
        for right in wanted
        if not _has(connection, "has_sequence_privilege(%s, %s)", text, right)
    ]
    if lacking:
        statement = sql.SQL("GRANT {} ON SEQUENCE {} TO {}").format(
            _words(lacking), sequence, acting_role(connection)
        )
        subject = f"sequence {'.'.join(name)}"
        yield lacking_right(connection, subject, ", ".join(lacking), statement, script)


def hidden_rows(connection: Connection, label: str, policies: Sequence[str]) -> Finding:
    """Return the finding on a table of which this connection's role may not see all rows."""
    role = acting_role(connection).as_string(connection)
    return Finding(
        Level.ERROR,
        f"table {label} hides rows from this role by row level security ({', '.join(policies)})",
        f"ALTER ROLE {role} BYPASSRLS",
        sql=f"ALTER ROLE {role} BYPASSRLS;",
        of_role=True,
    )


def lacking_right(
    connection: Connection, subject: str, rights: str, statement: sql.Composed, script: str
) -> Finding:
    """Return the finding on rights that this connection's role lacks."""
    return Finding(
        Level.ERROR,
        f"{subject} gives this role no {rights}",
        or_script(connection, statement.as_string(connection), script),
        sql=f"{statement.as_string(connection)};",
        of_role=True,
    )


def _words(rights: Sequence[str]) -> sql.Composable:
    known = {right: sql.SQL(right) for right in ("SELECT", "INSERT", "UPDATE", "DELETE")}
    return sql.SQL(", ").join(known[right] for right in rights)


def _has(connection: Connection, condition: str, *arguments: str) -> bool:
    return bool(scalar(connection, f"SELECT {condition}".encode(), arguments))
