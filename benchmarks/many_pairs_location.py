"""Code location of many pairs on one side, each with all its real schedules, sensors and checks."""

from __future__ import annotations

import os
from pathlib import PurePath

import dagster as dg

from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings


def pair_names(count: int) -> list[str]:
    """Return the names of the pairs."""
    return [f"city{number:03}" for number in range(count)]


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of `PAIRS` pairs of `SIDE`, with the settings of the environment."""
    names = pair_names(int(os.environ["PAIRS"]))
    spools = PurePath(os.environ["AR_SYNC_REMOTE_BKP_FLDR"]).parent
    environments = [
        {**os.environ, "AR_SYNC_PAIR": name, "AR_SYNC_REMOTE_BKP_FLDR": str(spools / name)}
        for name in names
    ]
    if os.environ["SIDE"] == "sender":
        made = [sender_definitions(load_sender_settings(one)) for one in environments]
    else:
        made = [receiver_definitions(load_receiver_settings(one)) for one in environments]
    return dg.Definitions.merge(*made)
