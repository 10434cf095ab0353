"""Catalogs by which loads leave every changed row to the built-in rules, and others."""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.transform.transapp.catalog_marks import lines_to_add

MARKED = """
[table.AndroidRequests_busstop] reset_on_change = { transformed = false }
[table.AndroidRequests_busstop] clear_on_change = ["point"]
[table.AndroidRequests_busv2] reset_on_change = { transformed = false }
[table.AndroidRequests_busv2] rewritten_by_transform = ["registrationPlate"]
[table.AndroidRequests_eventforbusstop] children = ["AndroidRequests_stadisticdatafromregistrationbusstop"]
[table.AndroidRequests_eventforbusstop] reset_on_change = { transformed = false }
[table.AndroidRequests_eventforbusv2] children = ["AndroidRequests_stadisticdatafromregistrationbus"]
[table.AndroidRequests_eventforbusv2] reset_on_change = { transformed = false }
[table.AndroidRequests_report] reset_on_change = { transformed = false }
""".strip().splitlines()  # noqa: E501  lines of TOML
EVENT = "AndroidRequests_eventforbusv2"
STATISTIC = "AndroidRequests_stadisticdatafromregistrationbus"


def _with(label: str, rules: TableRules) -> Catalog:
    own = load_catalog()
    return own.model_copy(update={"table": {**own.table, label: rules}})


def test_catalog_of_the_package_has_every_mark() -> None:
    assert list(lines_to_add(load_catalog())) == []


def test_catalog_without_rules_lacks_every_mark() -> None:
    assert list(lines_to_add(load_catalog().model_copy(update={"table": {}}))) == MARKED


def test_lines_to_add_make_a_file_that_lacks_none(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    sections: dict[str, list[str]] = {}
    for header, _, line in (mark.partition(" ") for mark in MARKED):
        sections.setdefault(header, []).append(line)
    text = "\n".join(line for header, lines in sections.items() for line in (header, *lines))
    file.write_text(f'name = "mine"\ntables = ["AndroidRequests_*"]\n{text}\n')
    assert list(lines_to_add(load_catalog(file))) == []


def test_what_the_operator_has_added_is_kept() -> None:
    rules = TableRules(
        children=("AndroidRequests_other",), reset_on_change={"fixed": False, "transformed": False}
    )
    (line,) = lines_to_add(_with(EVENT, rules))
    assert line == f'[table.{EVENT}] children = ["AndroidRequests_other", "{STATISTIC}"]'


def test_mark_that_says_the_opposite_is_no_mark() -> None:
    rules = load_catalog().rules("AndroidRequests_report")
    wrong = rules.model_copy(update={"reset_on_change": {"transformed": True}})
    (line,) = lines_to_add(_with("AndroidRequests_report", wrong))
    assert line.endswith("reset_on_change = { transformed = false }")
