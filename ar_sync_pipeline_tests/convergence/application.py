"""A small application in which everything that makes replication hard happens within a few rows.

Parents refer to themselves, have a unique code and no time stamp; teams and their members refer to
each other; tags have no integer key. Accounts go with their parent, and their unique keys are a
case-insensitive one, a partial one and one over an expression. Every write at the sender, committed
or not, gets its row a higher ``version``, and every deletion is noted, so that a test can tell
older from newer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ar_sync_pipeline.catalog.model import Catalog

Values = Mapping[str, bytes | None]
"""A row's values, by column."""


@dataclass(frozen=True)
class SharedTable:
    """A replicated table.

    Attributes:
        key: columns of the primary key; they come first in ``columns``.
        references: columns and the tables to whose one key column they refer.
        unique: what no two rows have in common, by name of the constraint; None in a row that it
            does not concern.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ("id",)
    references: dict[str, str] = field(default_factory=dict)
    unique: Mapping[str, Callable[[Values], object]] = field(default_factory=dict)

    def values(self, row: tuple[bytes | None, ...]) -> Values:
        """A row's values by column."""
        return dict(zip(self.columns, row, strict=True))


def _lower(column: str) -> Callable[[Values], object]:
    def value(row: Values) -> object:
        text = row[column]
        return text and text.lower()

    return value


def _main_of_parent(row: Values) -> object:
    return row["parent_id"] if row["main"] == b"\x01" else None


TEAM_NAME = "app_team_name_key"
"""The unique constraint that migrations drop."""


TABLES = {
    table.name: table
    for table in (
        SharedTable(
            "app_parent",
            ("id", "version", "code", "label", "boss_id"),
            references={"boss_id": "app_parent"},
            unique={"code": lambda row: row["code"]},
        ),
        SharedTable(
            "app_child",
            ("id", "version", "parent_id", "changed", "amount", "picture"),
            references={"parent_id": "app_parent"},
        ),
        SharedTable(
            "app_grandchild",
            ("id", "version", "child_id", "changed"),
            references={"child_id": "app_child"},
        ),
        SharedTable(
            "app_team",
            ("id", "version", "captain_id", "name"),
            references={"captain_id": "app_member"},
            unique={TEAM_NAME: lambda row: row["name"]},
        ),
        SharedTable(
            "app_member", ("id", "version", "team_id"), references={"team_id": "app_team"}
        ),
        SharedTable(
            "app_tag",
            ("name", "part", "version", "parent_id", "value"),
            key=("name", "part"),
            references={"parent_id": "app_parent"},
        ),
        SharedTable(
            "app_account",
            ("id", "version", "parent_id", "email", "nick", "main", "touched", "mood"),
            references={"parent_id": "app_parent"},
            unique={"email": _lower("email"), "nick": _lower("nick"), "main": _main_of_parent},
        ),
    )
}  # fmt: skip

CATALOG = Catalog.model_validate(
    {
        "name": "convergence",
        "tables": ["app_*"],
        "receiver_tables": ["app_note", "app_remark", "app_pin"],
        "table": {
            "app_parent": {
                "receiver_columns": ["seen", "transformed"],
                "reset_on_change": {"transformed": False},
                "rewritten_by_transform": ["label"],
            },
            "app_child": {
                "changed_at": "changed",
                "media_columns": ["picture"],
                "receiver_columns": ["stars", "note_id"],
            },
            "app_grandchild": {"changed_at": "changed"},
        },
    }
)

_SHARED = """
CREATE COLLATION app_ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE app_mood AS ENUM ('calm', 'glad');
CREATE TABLE app_parent (id integer PRIMARY KEY, version bigint NOT NULL, code text UNIQUE,
    label text, boss_id integer REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE app_child (id integer PRIMARY KEY, version bigint NOT NULL,
    parent_id integer NOT NULL REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED,
    changed timestamptz NOT NULL, amount double precision, picture text);
CREATE TABLE app_grandchild (id bigint PRIMARY KEY, version bigint NOT NULL,
    child_id integer NOT NULL REFERENCES app_child, changed timestamptz NOT NULL);
CREATE TABLE app_team (id integer PRIMARY KEY, version bigint NOT NULL, captain_id integer,
    name text CONSTRAINT app_team_name_key UNIQUE);
CREATE TABLE app_member (id integer PRIMARY KEY, version bigint NOT NULL,
    team_id integer NOT NULL REFERENCES app_team DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE app_team ADD FOREIGN KEY (captain_id) REFERENCES app_member
    DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE app_tag (name text, part text, version bigint NOT NULL,
    parent_id integer REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED, value numeric,
    PRIMARY KEY (name, part));
CREATE TABLE app_account (id integer PRIMARY KEY, version bigint NOT NULL,
    parent_id integer NOT NULL REFERENCES app_parent ON DELETE CASCADE,
    email text COLLATE app_ci UNIQUE, nick text, main boolean NOT NULL, touched timestamptz,
    mood app_mood);
CREATE UNIQUE INDEX app_account_nick ON app_account (lower(nick));
CREATE UNIQUE INDEX app_account_main ON app_account (parent_id) WHERE main;
"""

SENDER_SCHEMA = (
    _SHARED
    + """
CREATE SEQUENCE versions;
CREATE TABLE deleted_row (name text, key text);
CREATE FUNCTION note_version() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.version := nextval('versions'); RETURN NEW; END $$;
CREATE FUNCTION note_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO deleted_row VALUES (TG_TABLE_NAME,
            coalesce(to_jsonb(OLD)->>'id', (to_jsonb(OLD)->>'name') || (to_jsonb(OLD)->>'part')));
        RETURN NULL;
    END $$;
CREATE FUNCTION exchange_codes(one integer, other integer) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE code_of_one text; code_of_other text;
    BEGIN
        SELECT code INTO code_of_one FROM app_parent WHERE id = one;
        SELECT code INTO code_of_other FROM app_parent WHERE id = other;
        UPDATE app_parent SET code = NULL WHERE id = one;
        UPDATE app_parent SET code = code_of_one WHERE id = other;
        UPDATE app_parent SET code = code_of_other WHERE id = one;
    END $$;
CREATE FUNCTION exchange_accounts(one integer, other integer) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE first app_account; second app_account;
    BEGIN
        SELECT * INTO first FROM app_account WHERE id = one;
        SELECT * INTO second FROM app_account WHERE id = other;
        UPDATE app_account SET email = NULL, nick = NULL, main = false WHERE id IN (one, other);
        UPDATE app_account SET (parent_id, email, nick, main)
            = (first.parent_id, first.email, first.nick, first.main) WHERE id = other;
        UPDATE app_account SET (parent_id, email, nick, main)
            = (second.parent_id, second.email, second.nick, second.main) WHERE id = one;
    END $$;
"""
    + "".join(
        f"CREATE TRIGGER version BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION note_version();"
        f"CREATE TRIGGER deletion AFTER DELETE ON {table} FOR EACH ROW"
        " EXECUTE FUNCTION note_deletion();"
        for table in TABLES
    )
)

RECEIVER_SCHEMA = (
    _SHARED
    + """
CREATE TABLE app_note (id integer PRIMARY KEY,
    parent_id integer NOT NULL REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED,
    maybe_id integer REFERENCES app_child DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE app_remark (id integer PRIMARY KEY,
    note_id integer NOT NULL REFERENCES app_note DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE app_pin (id integer PRIMARY KEY,
    account_id integer NOT NULL REFERENCES app_account ON DELETE CASCADE);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.touched := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON app_account FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE app_parent ADD seen integer, ADD transformed boolean;
ALTER TABLE app_child ADD stars integer,
    ADD note_id integer REFERENCES app_note DEFERRABLE INITIALLY DEFERRED;
"""
)
