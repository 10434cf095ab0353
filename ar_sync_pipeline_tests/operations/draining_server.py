"""A code server with a job that runs until the file in ``HELD_BY`` is deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dagster as dg


@dg.op
def held() -> None:
    while Path(os.environ["HELD_BY"]).exists():
        time.sleep(0.1)


@dg.job
def held_job() -> None:
    held()


definitions = dg.Definitions(jobs=[held_job])
