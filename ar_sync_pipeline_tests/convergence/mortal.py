"""A process that runs real dumps and loads in children which kill themselves at a chosen point.

``python -m ar_sync_pipeline_tests.convergence.mortal`` reads one order a line and answers with the
child's exit status. Children are forked, so that a history can afford many; only they are patched.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NoReturn

import psycopg

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.settings import load_receiver_settings
from ar_sync_pipeline.sync.admit import admit_archives
from ar_sync_pipeline.sync.load import load_archives

_CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "shutil.rmtree"})


def die() -> NoReturn:
    """As ``kill -9``, or as the memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_at_step(number: int) -> None:
    """Count what reaches the database or the disk; die before the step of this number."""
    steps = iter(range(1, number))

    def step() -> None:
        if next(steps, None) is None:
            die()

    wait = psycopg.Connection.wait

    def counted_wait(self: Any, *args: Any, **kwargs: Any) -> Any:
        step()
        return wait(self, *args, **kwargs)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        opens_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if event in _CHANGES or opens_to_write:
            step()

    psycopg.Connection.wait = counted_wait  # type: ignore[method-assign]
    sys.addaudithook(hook)


def load(order: dict[str, Any]) -> None:
    """Admit and load, as a run of the receiver's job does."""
    settings = load_receiver_settings(order["environ"])
    catalog = Catalog.model_validate_json(order["catalog"])
    now = datetime.fromisoformat(order["now"])
    if order["step"]:
        die_at_step(order["step"])
    admission = admit_archives(settings, catalog, lambda: now)
    load_archives(settings, catalog, admission.names, lambda: now)


def _child(order: dict[str, Any]) -> NoReturn:
    status = 1
    try:
        load(order)
        status = 0
    except BaseException:  # noqa: BLE001  a child that returned would read the parent's orders
        traceback.print_exc()
    finally:
        os._exit(status)


def _orders() -> Iterator[dict[str, Any]]:
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
