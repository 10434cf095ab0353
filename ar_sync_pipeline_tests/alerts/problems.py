"""Problems of a fake side."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.alerts.outbox import Notice
from ar_sync_pipeline.alerts.wording import Place

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
PLACE = Place("sender", "db1", "America/Santiago", "https://dagster.example.org/")


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def problem(
    minutes: float = 0,
    *,
    cause: str = "endpoint",
    source: str = "step:partial",
    sentence: str = "nobody answers at viz:22",
    muted_by: str | None = None,
) -> Problem:
    """A failure some minutes past noon; the minute names it."""
    return Problem(
        cause=cause,
        source=source,
        occurrence=f"run at {minutes}",
        at=at(minutes),
        title="the connection to the receiver",
        what=f"job of {source}",
        sentence=sentence,
        remedy="start sshd",
        run_id=f"run-{minutes}",
        page=f"runs/run-{minutes}",
        muted_by=muted_by,
    )


def success(minutes: float, source: str = "step:partial") -> Success:
    return Success(source, at(minutes))


@dataclass
class Recorder:
    """A channel that keeps what it is given, and fails on demand."""

    name: str = "mail"
    broken: bool = False
    notices: list[Notice] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [str(notice.kind) for notice in self.notices]

    def send(self, notice: Notice) -> None:
        if self.broken:
            raise DeliveryError("the server is away", remedy="restart it")
        self.notices.append(notice)
