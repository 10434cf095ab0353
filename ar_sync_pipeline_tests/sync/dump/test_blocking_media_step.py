"""The media step of a dump waits for nobody longer than the other steps may be waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import BlockingEndedError
from ar_sync_pipeline.sync.dump import bundle_media as module
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete
from ar_sync_pipeline_tests.fix_sites import TwoSites


@pytest.mark.long
def test_migration_waits_for_the_media_step_as_long_as_for_the_others(
    filled: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = replace(filled.database, max_blocking_seconds=0.5)
    build = open_build(filled.folder / "scratch", "run")
    dump_complete(database, build)
    reading = threading.Event()

    def slow(connection: Connection, *_: object) -> Iterator[str]:
        connection.execute("LOCK TABLE public.app_child IN ACCESS SHARE MODE")
        reading.set()
        connection.execute("SELECT pg_sleep(60)")
        yield from ()

    def migrate() -> None:
        reading.wait(30)
        filled.at_sender("ALTER TABLE app_child ADD word text")

    monkeypatch.setattr(module, "media_references", slow)
    migration = threading.Thread(target=migrate)
    migration.start()
    began = time.monotonic()
    with pytest.raises(BlockingEndedError, match="ALTER TABLE app_child ADD word text"):
        bundle_media(build, database, filled.sender_media, ["*.jpeg"])
    migration.join()
    assert time.monotonic() - began < 20
