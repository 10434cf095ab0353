"""A process that runs real dumps and loads in children which kill themselves at a chosen point.

``python -m ar_sync_pipeline_tests.convergence.killable`` reads one order a line and answers with
the child's exit status. Children are forked, so that a history can afford many; only they are
patched.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase, dump_complete, dump_partial
from ar_sync_pipeline.sync.dump.publish import publish_archive
from ar_sync_pipeline.sync.dump.starting_point import starting_point
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, PartialRequest
from ar_sync_pipeline.sync.load.admit import admit_archives
from ar_sync_pipeline.sync.load.load_archives import load_archives
from ar_sync_pipeline_tests.convergence.faults import DUMP_POINTS, LOAD_POINTS, die_at_step
from ar_sync_pipeline_tests.convergence.small_chunks import use_small_chunks

Order = dict[str, Any]


def load(order: Order, catalog: Catalog, now: datetime) -> None:
    """Admit and load, as a run of the receiver's job does."""
    settings = load_receiver_settings(order["environ"])
    admission = admit_archives(settings, catalog, lambda: now)
    load_archives(settings, catalog, admission.names, lambda: now)


def dump(order: Order, catalog: Catalog, now: datetime) -> None:
    """Dump and send, as a run of the sender's jobs does."""
    settings = load_sender_settings(order["environ"])
    url = settings.sender_database_url.get_secret_value()
    database = SenderDatabase(url, catalog, lambda: now)
    build = open_build(settings.tmp_bkp_fldr, uuid4().hex)
    start = starting_point(settings, now)
    if order["what"] == "complete":
        complete = CompleteRequest(start.acknowledged, start.base, start.after)
        dump_complete(database, build, complete)
    else:
        window = Window(start=now - timedelta(minutes=5), end=now)
        request = PartialRequest(window, timedelta(minutes=15), start.since, start.after)
        dump_partial(database, build, request)
    bundle_media(build, database, settings.sender_media_fldr, settings.media_patterns)
    publish_archive(settings, build, lambda: now)
    build.remove()


def _run(order: Order) -> None:
    catalog = Catalog.model_validate_json(order["catalog"])
    now = datetime.fromisoformat(order["now"])
    if order.get("small_chunks"):
        use_small_chunks(pytest.MonkeyPatch())
    if point := order.get("point"):
        (LOAD_POINTS | DUMP_POINTS)[point]()
    if step := order.get("step"):
        die_at_step(step)
    (load if order["what"] == "load" else dump)(order, catalog, now)


def _child(order: Order) -> NoReturn:
    status = 1
    try:
        _run(order)
        status = 0
    except BaseException:  # noqa: BLE001  a child that returned would read its parent's orders
        traceback.print_exc()
    finally:
        os._exit(status)


def _orders() -> Iterator[Order]:
    while line := sys.stdin.readline():
        yield json.loads(line)


def main() -> None:
    """Fork a child for each order, and say how it ended."""
    for order in _orders():
        child = os.fork()
        if child == 0:
            _child(order)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    main()
