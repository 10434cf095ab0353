"""Dagster's own tool for projects finds the definitions of the side that the environment sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ar_sync_pipeline_tests.fix_dagster import Deployment

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_dg_checks_those_of_the_sender(deployment: Deployment) -> None:
    assert "All definitions loaded" in dg("check", environment=deployment.sender_environment())


@pytest.mark.long
def test_dg_lists_those_of_the_receiver(deployment: Deployment) -> None:
    listed = json.loads(dg("list", "--json", environment=deployment.receiver_environment()))
    assert "partial_loaddata" in {found["name"] for found in listed["jobs"]}


def dg(command: str, *words: str, environment: dict[str, str]) -> str:
    inherited = {name: value for name, value in os.environ.items() if "AR_SYNC" not in name}
    done = subprocess.run(
        [Path(sys.executable).parent / "dg", command, "defs", *words],
        cwd=ROOT,
        env=inherited | environment | {"VIRTUAL_ENV": sys.prefix},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
