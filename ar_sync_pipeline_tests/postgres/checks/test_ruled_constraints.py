"""Check constraints and computed NOT NULL columns that refuse what column rules make of rows."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.ruled_constraints import ruled_constraint_findings
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline_tests.postgres.scratch import Scratch

CONTACT = """
CREATE TABLE contact (id int PRIMARY KEY, kind text NOT NULL, email text, phone text,
  note text DEFAULT 'none', made timestamptz DEFAULT now(), lat float,
  mailbox text GENERATED ALWAYS AS (lower(email)) STORED)
"""
BOTH = {"exclude": ["email", "phone"]}
FIXED = {"mask": {"email": "null", "phone": {"constant": "-"}}}


def found(scratch: Scratch, rules: Mapping[str, object], *, receives: bool = True) -> list[Finding]:
    catalog = scratch.catalog(table={"contact": rules})
    table = scratch.tables()["contact"]
    return list(
        ruled_constraint_findings(
            scratch.connection, catalog.rules("contact"), table, receives=receives
        )
    )


@pytest.mark.parametrize(
    ("check", "rules", "level"),
    [
        ("email IS NOT NULL OR phone IS NOT NULL", BOTH, Level.ERROR),
        ("num_nonnulls(email, phone) = 1", BOTH, Level.ERROR),
        ("num_nonnulls(email, phone) = 1", FIXED, None),
        ("num_nonnulls(email, phone) = 2", FIXED, Level.ERROR),
        ("num_nonnulls(email, phone) = 1", {"exclude": ["email"], "mask": {"phone": "null"}},
         Level.ERROR),
        # NULL meets a comparison, and whatever is made of one.
        ("length(email) > 3 AND phone <> ''", BOTH, None),
        ("email <> kind", BOTH, None),
        # Of columns without a rule it depends on the row, unless these do not matter.
        ("(kind = 'mail') = (email IS NOT NULL)", BOTH, Level.NOTE),
        ("email IS NOT NULL AND kind <> ''", BOTH, Level.ERROR),
        ("email IS NULL OR kind = 'mail'", BOTH, None),
        # New rows get the default of an excluded column.
        ("note <> 'none'", {"exclude": ["note"]}, Level.ERROR),
        ("note <> ''", {"exclude": ["note"]}, None),
        ("made IS NOT NULL", {"exclude": ["made"]}, Level.NOTE),
        # A computed column is computed from what the rules make.
        ("mailbox IS NOT NULL", BOTH, Level.ERROR),
        ("mailbox IS NOT NULL", {"mask": {"email": {"constant": "X"}}}, None),
        ("mailbox = 'X'", {"mask": {"email": {"constant": "X"}}}, Level.ERROR),
        ("mailbox IS NOT NULL", {"exclude": ["mailbox"]}, None),
        ("kind <> ''", BOTH, None),
        # A whole row has all columns.
        ("contact IS NOT NULL", BOTH, Level.ERROR),
        ("contact IS NOT NULL", {"mask": {"email": {"constant": "X"}}}, Level.NOTE),
    ],
)  # fmt: skip
def test_what_rules_make_of_rows_is_tried_with_all_columns_of_a_constraint(
    scratch: Scratch, check: str, rules: dict[str, object], level: Level | None
) -> None:
    scratch.run(CONTACT, f"ALTER TABLE contact ADD CONSTRAINT reachable CHECK ({check})")
    assert [one.level for one in found(scratch, rules)] == ([level] if level else [])


@pytest.mark.parametrize(
    ("expression", "rules", "level"),
    [
        ("email || ' of ' || kind", {"exclude": ["email"]}, Level.ERROR),
        ("email || ' of ' || kind", {"mask": {"email": "null"}}, Level.ERROR),
        ("email || ' of ' || kind", {"mask": {"email": {"constant": ""}}}, Level.NOTE),
        ("coalesce(email, 'none')", {"exclude": ["email"]}, None),
        ("coalesce(email, phone)", {"exclude": ["email"]}, Level.NOTE),
        ("kind || '!'", {"exclude": ["email"]}, None),
    ],
)
def test_computed_column_that_must_not_be_null_is_computed_from_what_rules_make(
    scratch: Scratch, expression: str, rules: dict[str, object], level: Level | None
) -> None:
    computed = f"label text GENERATED ALWAYS AS ({expression}) STORED NOT NULL"
    scratch.run(CONTACT, f"ALTER TABLE contact ADD {computed}")
    assert [one.level for one in found(scratch, rules)] == ([level] if level else [])


def test_finding_names_the_constraint_the_rules_and_their_columns(scratch: Scratch) -> None:
    scratch.run(
        CONTACT,
        "ALTER TABLE contact ADD CONSTRAINT reachable CHECK (num_nonnulls(email, phone) = 2)",
    )
    (one,) = found(scratch, {"exclude": ["email"], "mask": {"phone": "null"}})
    assert str(one) == (
        "constraint reachable of table contact refuses what `exclude` and `mask` make of email,"
        " phone, so archives are parked: give them other rules, or drop the constraint at the"
        " receiver."
    )
    (one,) = found(scratch, {"exclude": ["email", "phone"]}, receives=False)
    assert one.level is Level.WARNING
    assert "`exclude` makes of email, phone, so that, where the receiver has it too," in one.problem


def test_constraint_that_is_not_enforced_refuses_nothing(postgres_18: EmbeddedPostgres) -> None:
    url = postgres_18.create_database("not_enforced")
    with connect(url, application="test") as connection:
        scratch = Scratch(url, "public", connection)
        scratch.run(
            CONTACT,
            "ALTER TABLE contact ADD CONSTRAINT r CHECK (email IS NOT NULL) NOT ENFORCED",
        )
        assert found(scratch, BOTH) == []
