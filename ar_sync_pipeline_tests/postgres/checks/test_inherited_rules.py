"""A table that inherits columns is told if its parent has rules for them and it has none."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.postgres.checks.inherited_rules import inherited_rule_findings
from ar_sync_pipeline_tests.postgres.scratch import Scratch

PARENT = {"exclude": ["email"], "mask": {"phone": "pseudonym"}}


@pytest.mark.parametrize(
    ("child", "left"),
    [
        ({}, "email, phone"),
        ({"exclude": ["email"]}, "phone"),
        ({"exclude": ["email", "phone"]}, None),
        ({"mask": {"email": "null", "phone": "null"}}, None),
    ],
)
def test_columns_without_a_rule_of_their_own_are_named(
    scratch: Scratch, child: dict[str, object], left: str | None
) -> None:
    scratch.run(
        "CREATE TABLE person (id int PRIMARY KEY, email text, phone text, age int)",
        "CREATE TABLE driver (badge text) INHERITS (person)",
    )
    catalog = scratch.catalog(table={"person": PARENT, "driver": child})
    found = list(inherited_rule_findings(scratch.connection, catalog, scratch.tables()))
    assert [one.problem.partition(" from ")[0] for one in found] == (
        [] if left is None else [f"table driver inherits {left}"]
    )


def test_rules_of_a_table_two_levels_up_are_named_once(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE person (id int PRIMARY KEY, email text, phone text)",
        "CREATE TABLE driver (PRIMARY KEY (id)) INHERITS (person)",
        "CREATE TABLE night_driver (PRIMARY KEY (id)) INHERITS (driver)",
    )
    catalog = scratch.catalog(table={"person": PARENT, "driver": {"exclude": ["email"]}})
    found = list(inherited_rule_findings(scratch.connection, catalog, scratch.tables()))
    assert [one.problem.partition(" and has")[0] for one in found] == [
        "table night_driver inherits email from driver",
        "table driver inherits phone from person",
        "table night_driver inherits phone from person",
    ]


def test_partitions_are_their_table(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE person (id int PRIMARY KEY, email text) PARTITION BY RANGE (id)",
        "CREATE TABLE person_1 PARTITION OF person FOR VALUES FROM (0) TO (9)",
    )
    catalog = scratch.catalog(table={"person": {"exclude": ["email"]}})
    assert not list(inherited_rule_findings(scratch.connection, catalog, scratch.tables()))
