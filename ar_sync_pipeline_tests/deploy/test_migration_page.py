"""The checklist of a move from the old system: every item can be ticked, timed and carried out."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from ar_sync_pipeline.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "migration.md").read_text()
CHECKLIST = PAGE.partition("## The checklist\n")[2].partition("\n### Times\n")[0]
ITEMS = [
    " ".join(item.split())
    for item in re.findall(r"^- (.*?)(?=^- |^\*\*|^$)", CHECKLIST, re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("item", ITEMS)
def test_an_item_has_a_box_and_a_time(item: str) -> None:
    assert re.fullmatch(r"\[ \] \S.* \*[^*]+\*", item)


def test_the_checklist_covers_both_servers_and_the_way_back() -> None:
    assert len(ITEMS) > 15
    for part in ("The day before", "1. The receiver", "2. The sender", "Afterwards", "going back"):
        assert part in CHECKLIST


def test_commands_of_the_page_exist_with_their_options() -> None:
    found = re.findall(r"ar-sync ([a-z][a-z-]*)((?: --?[a-z-]+)*)", PAGE)
    assert {"check", "compare", "import-settings", "status"} <= {name for name, _ in found}
    for name, options in found:
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options.split()) <= known, (name, options)


def test_every_link_leads_to_a_page_and_a_heading() -> None:
    for target, anchor in re.findall(r"\]\(([\w./]*)(?:#([\w-]+))?\)", PAGE):
        page = (DOCS / target).read_text() if target else PAGE
        headings = [
            re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)
        ]
        assert not anchor or anchor in headings, (target, anchor)
