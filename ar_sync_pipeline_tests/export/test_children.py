"""Children of chosen rows come along, whatever the names of the tables are."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts

CHANGED = datetime(2026, 5, 17, 12, tzinfo=UTC)


@pytest.mark.parametrize("names", list(itertools.permutations(("t_a", "t_b", "t_c"))))
def test_children_of_children_come_along(source: Source, names: tuple[str, str, str]) -> None:
    top, middle, bottom = names
    source.run(
        f"CREATE TABLE {top} (id integer PRIMARY KEY, at timestamptz)",
        f"CREATE TABLE {middle} (id integer PRIMARY KEY, up integer REFERENCES {top})",
        f"CREATE TABLE {bottom} (id integer PRIMARY KEY, up integer REFERENCES {middle})",
        f"INSERT INTO {top} VALUES (1, '{CHANGED}'), (2, '2020-01-01 00:00Z')",
        f"INSERT INTO {middle} VALUES (1, 1), (2, 2), (3, 1)",
        f"INSERT INTO {bottom} VALUES (1, 1), (2, 2), (3, 3), (4, 3)",
    )
    source.catalog = catalog(
        table={
            top: {"changed_at": "at", "watermark": False, "children": [middle]},
            middle: {"watermark": False, "children": [bottom]},
            bottom: {"watermark": False},
        }
    )
    window = Window(start=CHANGED, end=CHANGED + timedelta(minutes=5))
    assert row_counts(source.partial(None, window)) == {top: 1, middle: 2, bottom: 3}
