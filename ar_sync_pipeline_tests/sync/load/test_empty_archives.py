"""Which archives the sensor loads in its tick: those in which nothing happened."""

from __future__ import annotations

from ar_sync_pipeline.sync.load.empty_archives import load_empty_archives
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, rows, watermark_of


def test_table_that_is_carried_whole_and_has_no_row_is_loaded_by_a_run(filled: TwoSites) -> None:
    filled.environ["AR_SYNC_DELETE_GUARD"] = "100"
    since = watermark_of(filled.complete())
    filled.load()
    filled.at_sender("DELETE FROM app_child", "ALTER TABLE app_child ADD size integer DEFAULT 7")
    filled.at_receiver("ALTER TABLE app_child ADD size integer DEFAULT 7")
    filled.partial(recent_window(0.01), since=since, minutes=0)
    assert load_empty_archives(filled.settings, filled.catalog, filled.clock) is None
    assert filled.load().refused == ()
    assert rows(filled.receiver, "SELECT count(*) FROM app_child") == [(0,)]
