"""Free space that varies around the floor is one incident, not two mails every few minutes."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.files import FreeSpace
from ar_sync_pipeline.operations import space_check
from ar_sync_pipeline.operations.check_evaluation import evaluation_of
from ar_sync_pipeline.operations.space_check import space_check_result, space_check_spec

SPEC = space_check_spec(dg.AssetKey(["partial", "archive"]), "the scratch folder")


def evaluated(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, percent: float, floor: int = 10
) -> dg.AssetCheckResult:
    """Evaluate the check while so much is free, and record the result as a run does."""
    space = FreeSpace(round(percent * 1000), 100_000)
    monkeypatch.setattr(space_check, "measure_free_space", lambda _: space)
    result = space_check_result(instance, SPEC, {"scratch": Path("/x")}, floor)
    instance.report_runless_asset_event(evaluation_of(result))
    return result


def test_check_passes_again_from_one_percent_over_the_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = {1: (10.01, 10.5), 2: (9.98, 10.01, 9.99, 10.9), 3: (11.0, 10.01), 4: (9.9, 10.5)}
    with dg.DagsterInstance.ephemeral() as instance:
        for phase, percents in measured.items():
            found = [evaluated(instance, monkeypatch, one).passed for one in percents]
            assert found == [phase % 2 == 1] * len(percents)


def test_message_names_the_percent_that_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        said = [evaluated(instance, monkeypatch, percent).description for percent in (9.5, 10.5)]
    assert said == [
        "Less than 10 % free: scratch, dagster_home.",
        "Less than 11 % free: scratch, dagster_home.",
    ]


def test_lower_floor_ends_the_incident(monkeypatch: pytest.MonkeyPatch) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not evaluated(instance, monkeypatch, 9.5).passed
        assert evaluated(instance, monkeypatch, 9.5, floor=5).passed


def test_disk_that_reports_no_space_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_check, "measure_free_space", lambda _: FreeSpace(0, 0))
    with dg.DagsterInstance.ephemeral() as instance:
        result = space_check_result(instance, SPEC, {"scratch": Path("/x")}, 10)
    assert result.passed
    assert not any("free" in name for name in result.metadata or {})


def test_disk_on_which_no_file_can_be_made_fails_the_check_however_much_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spaces = {"state": FreeSpace(90, 100, "its file system is mounted read-only")}
    monkeypatch.setattr(
        space_check, "measure_free_space", lambda f: spaces.get(f.name, FreeSpace(90, 100))
    )
    places = {name: Path("/x", name) for name in ("spool", "state")}
    with dg.DagsterInstance.ephemeral() as instance:
        closed = space_check_result(instance, SPEC, places, 10)
        instance.report_runless_asset_event(evaluation_of(closed))
        spaces["spool"] = FreeSpace(5, 100, "its file system has no inode left")
        both = space_check_result(instance, SPEC, places, 10)
        spaces.clear()
        assert space_check_result(instance, SPEC, places, 10).passed
    state = (
        "state cannot be written (its file system is mounted read-only), so no new alert is kept"
    )
    assert (closed.passed, closed.description) == (False, f"S{state[1:]}.")
    assert both.description == (
        f"Spool cannot be written (its file system has no inode left). S{state[1:]}."
        " Less than 10 % free: spool."
    )


def test_disk_that_never_was_below_the_floor_does_not_keep_the_check_failing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = {"scratch": 10.5, "media": 9.0}

    def measure(folder: Path) -> FreeSpace:
        return FreeSpace(round(free.get(folder.name, 50) * 1000), 100_000)

    monkeypatch.setattr(space_check, "measure_free_space", measure)
    found = []
    with dg.DagsterInstance.ephemeral() as instance:
        for free["media"] in (9.0, 10.5, 60.0):
            places = {name: Path("/x", name) for name in free}
            result = space_check_result(instance, SPEC, places, 10)
            instance.report_runless_asset_event(evaluation_of(result))
            found.append((result.passed, result.description))
    assert found == [
        (False, "Less than 10 % free: media."),
        (False, "Less than 11 % free: media."),
        (True, "Every disk has at least 10 % of its space free."),
    ]
