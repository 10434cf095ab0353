"""Areas of a preflight, examined in parallel; one that hangs is abandoned, and not started again.

A thread that blocks in the kernel, for example on a mount whose server is gone, cannot be ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, as_error
from ar_sync_pipeline.settings.usable import UnusableSettingError

Area = Callable[[], Iterable[Finding]]

# Else a preflight that is repeated every five minutes would add threads without end.
_abandoned: dict[tuple[Path, str], _Examination] = {}


class _Examination(Thread):
    """Examines one area.

    Attributes:
        findings: Its findings; None until it ends.
        broken: Error that is none of the area's findings.
    """

    def __init__(self, area_name: str, area: Area) -> None:
        super().__init__(name=f"check {area_name}", daemon=True)
        self.area_name = area_name
        self.findings: list[Finding] | None = None
        self.broken: BaseException | None = None
        self._area = area
        self._began = time.monotonic()

    @property
    def minutes(self) -> float:
        """Time since it began, in minutes."""
        return (time.monotonic() - self._began) / 60

    def run(self) -> None:
        """Examine the area."""
        name = self.area_name
        found: list[Finding] = []
        try:
            for one in self._area():
                found.append(replace(one, area=one.area or name))  # noqa: PERF401  kept if it fails
            self.findings = found
        except UnusableSettingError as error:
            self.findings = [*found, _unexamined(name, error.variable)]
        except ArSyncError as error:
            self.findings = [replace(as_error(error), area=name)]
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            problem = f"{name} cannot be examined: {error.strerror or error}{where}"
            remedy = "check that the path is there and that this account may use it"
            self.findings = [Finding(Level.ERROR, problem, remedy, area=name, unexamined=True)]
        except BaseException as error:  # noqa: BLE001  raised again in the main thread
            self.broken = error


def examine_areas(owner: Path, areas: Mapping[str, Area], within_seconds: float) -> list[Finding]:
    """Return the findings of all areas, in their order; then those that did not end in time.

    Args:
        owner: Path that belongs to one side of one pair: a process may examine several.
        areas: Areas by name.
        within_seconds: Time limit for all of them.
    """
    before = {name: _abandoned.get((owner, name)) for name in areas}
    hung = [one for one in before.values() if one is not None and one.is_alive()]
    names_of_hung = {one.area_name for one in hung}
    started = [_Examination(name, areas[name]) for name in areas if name not in names_of_hung]
    deadline = time.monotonic() + within_seconds
    for one in started:
        one.start()
    for one in started:
        one.join(max(0.0, deadline - time.monotonic()))
    late = [one for one in started if one.findings is None and one.broken is None]
    _abandoned.update({(owner, one.area_name): one for one in late})
    for one in started:
        if one.broken is not None:
            raise one.broken
    return [
        *(found for one in started for found in one.findings or ()),
        *(_unfinished(one, f"did not end within {within_seconds:.0f} s") for one in late),
        *(_unfinished(one, f"has not ended for {one.minutes:.0f} min") for one in hung),
    ]


def _unexamined(name: str, variable: str) -> Finding:
    return Finding(
        Level.NOTE,
        f"{name} was not examined, or only in part, since {variable} cannot be used",
        "correct it, and run the check again",
        area=name,
        unexamined=True,
    )


def _unfinished(one: _Examination, what: str) -> Finding:
    return Finding(
        Level.ERROR,
        f"the check of {one.area_name} {what}",
        "find out what does not answer, a server or a mounted file system, and run the check again",
        area=one.area_name,
        unexamined=True,
    )
