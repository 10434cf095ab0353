"""Rows that wait for the transform are counted in tables and columns of any name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.transform.untransformed import WaitingRows, count_waiting_rows


def test_rows_wait_in_a_table_whose_name_has_signs_of_placeholders(empty_database: str) -> None:
    catalog = Catalog.model_validate(
        {
            "name": "c",
            "tables": ["t %s"],
            "table": {"t %s": {"reset_on_change": {"100%": "at 0 %"}}},
        }
    )
    hour = timedelta(hours=1)
    with connect(empty_database, application="test") as connection:
        connection.execute('CREATE TABLE public."t %s" (id int, "100%" text)')
        connection.execute(
            """INSERT INTO public."t %s" VALUES (1, 'at 0 %'), (2, NULL), (3, 'done')"""
        )
        now = datetime.now(UTC)
        assert count_waiting_rows(connection, catalog, now=now, limit=hour) == (
            WaitingRows("t %s", 2, 0),
        )
        later = now + 2 * hour
        assert count_waiting_rows(connection, catalog, now=later, limit=hour) == (
            WaitingRows("t %s", 2, 2),
        )
