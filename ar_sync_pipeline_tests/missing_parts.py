"""What a test does on a machine that lacks a requirement: skip with a reason, but never in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from ar_sync_pipeline_tests.fix_shared_databases import NO_SKIPS_VARIABLE


def skip_unless_in_ci(reason: str) -> NoReturn:
    """Skip the test; fail it in CI."""
    if os.environ.get(NO_SKIPS_VARIABLE):
        pytest.fail(f"{reason}, and {NO_SKIPS_VARIABLE} is set")
    pytest.skip(reason)
