"""Choice of the tables that a proposed catalog replicates, with reasons for excluded ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ar_sync_pipeline.catalog.labels import is_literal, locate
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.source_tables import shape_problems
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.setup.personal_columns import secret_key

# Tables in which migration tools of each side record their state.
_BOOKKEEPING = re.compile(
    r"django_migrations|alembic_version|schema_migrations|ar_internal_metadata|_prisma_migrations"
    r"|flyway_schema_history|databasechangelog(lock)?|__efmigrationshistory"
    r"|knex_migrations(_lock)?|sequelizemeta|goose_db_version|migrations|typeorm_metadata",
    re.IGNORECASE,
)
_SESSIONS = re.compile(r"(\w+_)?sessions?", re.IGNORECASE)
_SESSION_COLUMNS = frozenset({"session_key", "session_data", "sess", "sid", "session_id", "data"})
_OF_DJANGO = "django auth admin sessions contenttypes sites account socialaccount authtoken"
_OF_EXTENSIONS = """
SELECT n.nspname, c.relname, e.extname
  FROM pg_depend d
  JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid
 WHERE d.deptype = 'e' AND c.relkind IN ('r', 'p')
"""
_NUMBER_OF_TABLES = """
SELECT n.nspname, count(*)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname NOT IN ('information_schema', 'ar_sync') AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 GROUP BY n.nspname ORDER BY count(*) DESC, n.nspname <> 'public', n.nspname
"""


@dataclass(frozen=True)
class TableChoice:
    """What is done with every table.

    Attributes:
        replicated: Replicated tables by label.
        excluded: Reason of exclusion by label.
        nameless: By label, why a catalog of this schema cannot name a table.
        receiver_columns: By label, columns that cannot be sent.
        of_extensions: Labels of tables that belong to an extension.
    """

    replicated: dict[str, TableFacts]
    excluded: dict[str, str]
    nameless: dict[str, str]
    receiver_columns: dict[str, tuple[str, ...]]
    of_extensions: frozenset[str] = frozenset()

    @property
    def applications(self) -> frozenset[str]:
        """Labels of the tables that applications made."""
        return frozenset({*self.replicated, *self.excluded, *self.nameless} - self.of_extensions)


def main_schema(connection: Connection) -> str:
    """Return the schema with the most tables; ``public`` on a tie, or if there is no table.

    Tables of extensions do not count: those of some fill a schema of their own.
    """
    return scalar(connection, _NUMBER_OF_TABLES) or "public"


def choose_tables(
    connection: Connection, schema: str, tables: Mapping[str, TableFacts]
) -> TableChoice:
    """Choose all tables except those that cannot be sent or that each side maintains itself."""
    unsendable = {
        label: tuple(c.name for c in table.columns if not c.binary and c.name not in table.key)
        for label, table in tables.items()
    }
    unsendable = {label: names for label, names in unsendable.items() if names}
    own = tables_of_extensions(connection)
    excluded: dict[str, str] = {}
    nameless: dict[str, str] = {}
    for label, table in tables.items():
        if why := why_nameless(label, table, schema):
            nameless[label] = why
        elif (extension := own.get(table.place)) is not None:
            excluded[label] = f"belongs to the extension {extension}"
        elif reason := _reason(schema, table, unsendable.get(label, ())):
            excluded[label] = reason
    replicated = {
        label: table
        for label, table in tables.items()
        if label not in excluded and label not in nameless
    }
    _keep_for_oneself(replicated, excluded)
    return TableChoice(
        replicated,
        dict(sorted(excluded.items())),
        nameless,
        {label: names for label, names in unsendable.items() if label in replicated},
        frozenset(label for label, table in tables.items() if table.place in own),
    )


def tables_of_extensions(connection: Connection) -> dict[tuple[str, str], str]:
    """Return the extension of each table that one owns, by schema and name."""
    found = connection.execute(_OF_EXTENSIONS).fetchall()
    return {(schema, name): extension for schema, name, extension in found}


def why_nameless(label: str, table: TableFacts, schema: str) -> str:
    """Return why a catalog of a schema cannot name a table; empty if it can."""
    if locate(label, schema) != table.place:
        return "the name of its schema has a dot"
    return "" if is_literal(label) else "its name has a * or ?, which is special in a catalog"


def is_bookkeeping(relname: str) -> bool:
    """Return whether a migration tool maintains the table."""
    return _BOOKKEEPING.fullmatch(relname) is not None


def django_apps(
    tables: Mapping[str, TableFacts], migrated: Collection[str] | None
) -> tuple[str, ...]:
    """Return the apps of a Django database by the prefixes of its tables, the largest first.

    Args:
        tables: Tables of applications, by label.
        migrated: Apps that have migrations; None: unknown, and guessed.
    """
    apps = Counter(
        _app_of(table.relname, migrated)
        for table in tables.values()
        if not is_bookkeeping(table.relname)
    )
    return tuple(app for app, _ in apps.most_common() if app and app not in _OF_DJANGO.split())


def _app_of(relname: str, migrated: Collection[str] | None) -> str:
    """Return the app whose name a table begins with; empty if there is none."""
    if migrated is None:
        return relname.partition("_")[0] if "_" in relname else ""
    return max((app for app in migrated if relname.startswith(f"{app}_")), key=len, default="")


def _reason(schema: str, table: TableFacts, unsendable: tuple[str, ...]) -> str:
    """Return why a table cannot be sent; empty if it can."""
    rules = {table.name: {"receiver_columns": unsendable}} if unsendable else {}
    catalog = Catalog.model_validate(
        {"name": "draft", "schema": schema, "tables": [table.name], "table": rules}
    )
    problem = next(shape_problems(catalog, {table.name: table}), None)
    if problem is not None:
        return f"cannot be replicated: {problem.problem}"
    if table.policies:
        policies = ", ".join(table.policies)
        return f"row level security hides rows from this role ({policies}): give it BYPASSRLS first"
    return ""


def _keep_for_oneself(replicated: dict[str, TableFacts], excluded: dict[str, str]) -> None:
    """Exclude bookkeeping, sessions and tokens, unless a replicated table refers to them.

    Such tables that only refer to each other are all excluded.
    """
    reasons = {label: why for label, table in replicated.items() if (why := _own_reason(table))}
    while (
        referred := {
            key.referenced_table
            for label, other in replicated.items()
            if label not in reasons
            for key in other.foreign_keys
        }
        & reasons.keys()
    ):
        reasons = {label: why for label, why in reasons.items() if label not in referred}
    excluded |= reasons
    for label in reasons:
        del replicated[label]


def _own_reason(table: TableFacts) -> str:
    """Return why each side keeps a table for itself; empty if it does not."""
    if is_bookkeeping(table.relname):
        return "each side's own migrations keep it"
    names = {column.name for column in table.columns}
    if _SESSIONS.fullmatch(table.relname) and _SESSION_COLUMNS & names:
        return "sessions of people who are logged in"
    key = secret_key(table)
    return f"its key {key} looks like a secret, and a key can have no rule" if key else ""
