"""What a test does on a machine that lacks a requirement: skip with a reason, but never in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

NO_SKIPS_VARIABLE = "AR_SYNC_TEST_NO_SKIPS"
"""Set in CI, where a test of a part that only some machines have must not pass by being skipped."""


def skip_unless_in_ci(reason: str) -> NoReturn:
    """Skip the test; fail it in CI."""
    if os.environ.get(NO_SKIPS_VARIABLE):
        pytest.fail(f"{reason}, and {NO_SKIPS_VARIABLE} is set")
    pytest.skip(reason)


def skipif_unless_in_ci(missing: bool, reason: str) -> pytest.MarkDecorator:
    """Skip the marked tests if a requirement is missing; in CI they run, and fail."""
    return pytest.mark.skipif(missing and not os.environ.get(NO_SKIPS_VARIABLE), reason=reason)


def only_root(may: str) -> pytest.MarkDecorator:
    """Skip the marked tests for other accounts than root; in CI they run, and fail."""
    return skipif_unless_in_ci(os.geteuid() != 0, f"only root may {may}")


def require_root(may: str) -> None:
    """Skip the test for another account than root; fail it in CI."""
    if os.geteuid() != 0:
        skip_unless_in_ci(f"only root may {may}")
