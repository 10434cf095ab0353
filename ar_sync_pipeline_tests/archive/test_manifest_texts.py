"""Every text of a manifest is bounded, and none holds what PostgreSQL cannot store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ar_sync_pipeline.archive.canonical_json import canonical_json
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline_tests.archive.building import make_manifest, make_source, make_table

_LONG = "x" * 2_000_000


def texts(schema: Any) -> Iterator[dict[str, Any]]:
    """Every place of a JSON schema that takes a text."""
    if isinstance(schema, list):
        for part in schema:
            yield from texts(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "string":
            yield schema
        for part in schema.values():
            yield from texts(part)


def test_every_text_has_a_limit() -> None:
    found = list(texts(Manifest.model_json_schema()))
    assert len(found) > 20
    for text in found:
        bounded = {"maxLength", "enum", "const", "format"} & set(text)
        assert bounded or "{" in text.get("pattern", ""), text


def spots(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a manifest has texts."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from spots(part, (*place, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from spots(part, (*place, index))


@pytest.fixture
def honest(tmp_path: Path) -> dict[str, Any]:
    source = make_source(tmp_path, media={"a.jpeg": b"a"}, tables={"app_bus": [b"rows"]})
    content: dict[str, Any] = json.loads(source.manifest.to_json())
    content["migrations"] = ["0001_initial"]
    content["media_omitted"] = ["b.jpeg"]
    content["types"] = [
        {"name": "mood", "kind": "enum", "parts": ["sad"], "base": ""},
        {"name": "name", "kind": "domain", "parts": ["CHECK (true)"], "base": "text"},
    ]
    content["references"] = ["a"]
    parse_manifest(canonical_json(content), ReadLimits())
    return content


@pytest.mark.parametrize("text", ["x\0y", "\0", _LONG], ids=["NUL inside", "NUL", "long"])
def test_no_text_may_hold_nul_or_be_long(honest: dict[str, Any], text: str) -> None:
    places = list(spots(honest))
    assert len(places) > 25
    for place in places:
        content = json.loads(json.dumps(honest))
        target = content
        for step in place[:-1]:
            target = target[step]
        target[place[-1]] = text
        with pytest.raises(CorruptArchiveError) as refused:
            parse_manifest(canonical_json(content), ReadLimits(), archive="a.tar")
        sentence = str(refused.value)
        assert sentence.isprintable(), place
        assert len(sentence) < 1000, place


def with_rules(count: int) -> dict[str, Any]:
    """A manifest of a table with rules of so many columns."""
    table = make_table("app_bus", column_rules={f"c{number}": "mask" for number in range(count)})
    content: dict[str, Any] = json.loads(make_manifest(tables=(table,)).to_json())
    return content


@pytest.mark.parametrize("count", [65, 1600])
def test_every_column_of_a_table_may_have_a_rule(count: int) -> None:
    content = with_rules(count)
    manifest = parse_manifest(canonical_json(content), ReadLimits())
    assert len(manifest.tables[0].column_rules) == count


@pytest.mark.parametrize("place", [("sender",), ("tables", 0), ("tables", 0, "columns", 0), ()])
def test_no_other_object_has_many_keys(place: tuple[Any, ...]) -> None:
    """Each would be a line of the report."""
    content = target = with_rules(65)
    for step in place:
        target = target[step]
    target |= {f"c{number}": "mask" for number in range(65)}
    with pytest.raises(CorruptArchiveError, match="is not JSON"):
        parse_manifest(canonical_json(content), ReadLimits(), archive="a.tar")


@pytest.mark.parametrize("tables", [None, 7, {"a": 1}, [None], ["column_rules"], [[1]]])
def test_tables_that_are_none_are_refused_with_one_error(tables: object) -> None:
    content = with_rules(65)
    rules = content["tables"][0]["column_rules"]
    for changes in ({"tables": tables}, {"tables": tables, "column_rules": rules}):
        with pytest.raises(CorruptArchiveError):
            parse_manifest(canonical_json({**content, **changes}), ReadLimits(), archive="a.tar")
