"""A check's promise, remedy and page are one description in the UI, and separate in mails."""

from __future__ import annotations

import dagster as dg

from ar_sync_pipeline.operations.check_specs import check_spec, meaning_of, page_of, remedy_of
from ar_sync_pipeline.package_files import linked_to


def test_texts_with_the_marks_of_a_description_are_kept_apart() -> None:
    with linked_to("https://git.example.org/docs"):
        spec = check_spec(
            "no_loss",
            dg.AssetKey("rows"),
            meaning="Nothing is lost. If not: Runbook: is no mark",
            remedy="read it (see [this](page)). If not: ask",
            page="link_down",
        )
    assert spec.description == (
        "Nothing is lost. If not: Runbook: is no mark. If not: read it (see [this](page)). If not:"
        " ask. Runbook: [link_down](https://git.example.org/docs/runbook/link_down.md)"
    )
    assert meaning_of(spec) == "Nothing is lost. If not: Runbook: is no mark"
    assert remedy_of(spec) == "read it (see [this](page)). If not: ask"
    assert page_of(spec) == "link_down"
