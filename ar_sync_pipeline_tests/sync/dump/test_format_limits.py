"""What the format of archives cannot describe ends a dump with one sentence."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.archive.manifest import Column, TypeDefinition
from ar_sync_pipeline.sync.dump.format_limits import describing
from ar_sync_pipeline.sync.errors import BeyondFormatError


def test_definition_beyond_the_limits_is_named_without_its_value() -> None:
    with pytest.raises(BeyondFormatError) as raised, describing("database city"):
        TypeDefinition(name="short", kind="domain", parts=("secret" * 4_000,), base="text")
    assert raised.value.problem == (
        "database city cannot be described in an archive (at parts.0, String should have at most"
        " 20000 characters)"
    )
    assert "secret" not in str(raised.value)


def test_every_problem_is_counted() -> None:
    with pytest.raises(BeyondFormatError, match="and 1 more errors"), describing("table t"):
        Column(name="n" * 64, type="", nullable=True)
