"""Each error has one stable code, which programs match and the manual lists."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import ar_sync_pipeline
from ar_sync_pipeline.errors import (
    ArSyncError,
    ParkedError,
    TerminalError,
    TransientError,
    ValidationProblemsError,
)

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
BASES = {TransientError, ParkedError, TerminalError, ValidationProblemsError}
ROW = re.compile(r"^\| `([a-z-]+)` \| (retry|wait|give up) \|", re.MULTILINE)


def subclasses(base: type[ArSyncError]) -> Iterator[type[ArSyncError]]:
    for found in base.__subclasses__():
        yield found
        yield from subclasses(found)


@pytest.fixture(scope="module")
def of_the_product() -> set[type[ArSyncError]]:
    for module in pkgutil.walk_packages(ar_sync_pipeline.__path__, "ar_sync_pipeline."):
        importlib.import_module(module.name)
    return {
        error
        for error in subclasses(ArSyncError)
        if error.__module__.startswith("ar_sync_pipeline.") and error not in BASES
    }


def test_no_two_errors_share_a_code(of_the_product: set[type[ArSyncError]]) -> None:
    counted = Counter(error.code for error in of_the_product)
    assert [code for code, count in counted.items() if count > 1] == []


def test_manual_lists_every_code_with_its_policy(of_the_product: set[type[ArSyncError]]) -> None:
    assert set(ROW.findall(PAGE.read_text())) == {
        (error.code, str(error.policy)) for error in of_the_product
    }


def test_manual_explains_a_code_as_the_class_does(of_the_product: set[type[ArSyncError]]) -> None:
    row = re.compile(ROW.pattern + r" (.+) \|$", re.MULTILINE)
    explained = {code: text for code, _, text in row.findall(PAGE.read_text())}
    for error in of_the_product:
        summary = " ".join((error.__doc__ or "").partition("\n\n")[0].split())
        assert explained[error.code] == summary.replace("``", "`"), error.code


def test_code_is_that_of_the_class_unless_it_has_its_own() -> None:
    class TwoWordsError(TerminalError):
        pass

    class NamedError(TerminalError):
        code = "another-name"

    assert (TwoWordsError.code, NamedError.code) == ("two-words", "another-name")
