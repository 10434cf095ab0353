"""Every variable is in its example file and in the documentation, and no unknown one is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from ar_sync_pipeline.settings import ReceiverSettings, SenderSettings
from ar_sync_pipeline.settings_loading import variables

ROOT = Path(__file__).parents[1]
SIDES: dict[str, type[BaseModel]] = {"sender": SenderSettings, "receiver": ReceiverSettings}
NAME = re.compile(r"AR_SYNC_[A-Z_]+[A-Z]")


@pytest.mark.parametrize("side", SIDES)
def test_example_file_lists_exactly_the_variables_of_its_side(side: str) -> None:
    text = (ROOT / f"{side}.env.example").read_text()
    assigned = re.findall(r"^#?\s?(AR_SYNC_[A-Z_]+)=", text, re.MULTILINE)
    assert sorted(assigned) == sorted(v.name for v in variables(SIDES[side]).values())


def test_documentation_explains_every_variable_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    known = {v.name: v for model in SIDES.values() for v in variables(model).values()}
    assert set(NAME.findall(text)) <= set(known) | {"AR_SYNC_SAMPLE"}
    for name, variable in known.items():
        rows = (row for row in text.splitlines() if row.startswith("|"))
        line = next((row for row in rows if f"`{name}`" in row), "")
        assert line, name
        if variable.default:
            assert variable.default in line, name
