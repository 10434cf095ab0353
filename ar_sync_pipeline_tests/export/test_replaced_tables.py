"""A table that a migration replaces while a dump reads what tables there are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, watermark_of

REPLACED = (
    "BEGIN; CREATE TABLE fresh (LIKE app_child INCLUDING ALL);"
    " INSERT INTO fresh SELECT * FROM app_child; ALTER SEQUENCE app_child_id_seq OWNED BY fresh.id;"
    " DROP TABLE app_child CASCADE;"
    " ALTER TABLE fresh RENAME TO app_child; COMMIT"
)


def replace_meanwhile(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch, statement: str
) -> Callable[[], bool]:
    """Run a statement at the sender between the first list of tables and that of their columns."""
    done: list[bool] = []
    replicates = Catalog.replicates

    def replicates_later(catalog: Catalog, name: str) -> bool:
        if not done:
            done.append(True)
            sites.at_sender(statement)
        return replicates(catalog, name)

    monkeypatch.setattr(Catalog, "replicates", replicates_later)
    return lambda: bool(done)


@pytest.mark.parametrize("kind", ["complete", "partial"])
@pytest.mark.long
def test_dump_begins_again_if_a_table_was_replaced_before_it_was_described(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    since = watermark_of(filled.complete())
    filled.load()
    filled.at_sender("UPDATE app_child SET amount = amount + 1 WHERE id < 10")
    happened = replace_meanwhile(filled, monkeypatch, REPLACED)
    if kind == "complete":
        filled.complete()
    else:
        filled.partial(recent_window(), since=since)
    assert happened()
    filled.load()
    assert equal(filled)
