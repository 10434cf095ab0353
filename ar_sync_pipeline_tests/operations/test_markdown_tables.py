"""Tables in Dagster show names literally; no name breaks a table or makes a link."""

from __future__ import annotations

import dagster as dg
from markdown_it import MarkdownIt

from ar_sync_pipeline.operations.run_metadata import markdown_table


def cells(rows: list[tuple[str, str | float]]) -> list[list[str]]:
    """Return the cells of each row, as a renderer shows them."""
    table = markdown_table(("name", "rows"), rows)
    assert isinstance(table, dg.MarkdownMetadataValue)
    tokens = MarkdownIt("commonmark").enable("table").parse(table.md_str or "")
    found: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline":
            found[-1].append("".join(part.content for part in token.children or []))
    return found[1:]


def test_each_row_stays_a_row_whatever_its_name() -> None:
    names = [
        "a|b", "`tick", "``two``", "[link](https://evil.example)", "<b>bold</b>", "*star* _under_",
        "aes128-gcm@openssh.com", "back\\", "back\\|pipe", "ñandú 🚌", "www.evil.example", "&amp;",
    ]  # fmt: skip
    assert cells([(name, 1234) for name in names]) == [[name, "1,234"] for name in names]


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert cells([("a\nb\x1b\u202e", 1)]) == [[r"a\nb\x1b\u202e", "1"]]
