"""Going through a situation, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pprint import pformat

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_quarantined
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    execute,
    recent_window,
    watermark_of,
)
from ar_sync_pipeline_tests.open_sessions import session
from ar_sync_pipeline_tests.situations.comparison import (
    Contents,
    compare,
    differences,
    everything,
    orphans,
)
from ar_sync_pipeline_tests.situations.situation import Mode, Query, Situation, Step


@dataclass(frozen=True)
class Servers:
    """Two databases, reached as their owner."""

    sender: str
    receiver: str


class ParkedForGoodError(Exception):
    """An archive that this mode may not be able to load is parked, as it may be."""


@dataclass
class Running:
    """One situation under way."""

    situation: Situation
    mode: Mode
    servers: Servers
    loads_as: str
    folder: Path
    since: Watermark | None = None
    sites: TwoSites = field(init=False)

    def __post_init__(self) -> None:
        situation = self.situation
        catalog = Catalog.model_validate(
            {
                "name": "situation",
                "tables": list(situation.tables),
                "receiver_tables": list(situation.receiver_tables),
                "table": {name: dict(rules) for name, rules in situation.rules.items()},
            }
        )
        self.sites = TwoSites(self.servers.sender, self.loads_as, catalog, self.folder)

    def run(self) -> None:
        """Everything, unless this mode parks something for good."""
        try:
            self.begin()
            for step in self.situation.steps:
                self.step(step)
        except ParkedForGoodError:
            return

    def begin(self) -> None:
        """Both servers, and the first complete between them."""
        situation = self.situation
        for url in (self.servers.sender, self.servers.receiver):
            run_sql(url, situation.both)
        run_sql(self.servers.receiver, situation.receiver)
        run_sql(self.servers.sender, situation.rows)
        self.step(Step(ArchiveKind.COMPLETE, may_wait=situation.first_may_wait))
        run_sql(self.servers.receiver, situation.own)

    def partial_that_may_tell(self, sender: str) -> list[str]:
        """Load a partial, whatever becomes of it; returns all that an operator is told."""
        run_sql(self.servers.sender, sender)
        self.since = watermark_of(self._dump(ArchiveKind.PARTIAL))
        admission = self.sites.admit()
        report = self.sites.load()
        gaps = report.chain.gaps if report.chain else ()
        return [*admission.warnings, *self._reasons(), *map(str, gaps)]

    def step(self, step: Step) -> None:
        self.dump_after(step)
        run_sql(self.servers.receiver, step.receiver)
        may_wait = step.may_wait.get(self.mode)
        before = everything(self.servers.receiver) if step.waits_for or may_wait else {}
        report = self.sites.load()
        if step.waits_for:
            assert report.loaded == (), f"loaded in spite of {step.waits_for}"
            self._assert_parked(step.waits_for, before)
            self._answer(step.meanwhile)
            run_sql(self.servers.receiver, step.then)
            report = self.sites.load()
        elif not report.loaded and may_wait:
            self._assert_parked(may_wait, before)
            raise ParkedForGoodError
        self._assert_loaded(step, report)
        if step.compared:
            self.compare(keeps=step.keeps)
        self._answer(step.finds)

    def dump_after(self, step: Step) -> Path:
        """Let the sender act, and make the archive of a step."""
        run_sql(self.servers.sender, step.sender)
        path = self._dump(step.kind)
        self.since = watermark_of(path)
        return path

    def load_together(self, steps: Sequence[Step]) -> None:
        """Load all that waits; nothing is refused, and the end is as if each had come alone."""
        report = self.sites.load()
        assert not self._reasons(), "\n".join(self._reasons())
        assert report.refused == (), str(report.refused)
        last = steps[-1]
        if last.compared:
            self.compare(keeps=any(step.keeps for step in steps))
        self._answer(last.finds)

    def load_waits(self, words: Sequence[str]) -> None:
        """Load, which parks one archive with these words and changes nothing."""
        before = everything(self.servers.receiver)
        self.sites.load()
        self._assert_parked(words, before)

    def compare(self, *, keeps: bool = False) -> None:
        """The shared columns of all tables that the sender has are equal."""
        found = compare(self.servers.sender, self.servers.receiver, keeps=keeps)
        assert not found, pformat(found)
        assert not orphans(self.servers.receiver)

    def _dump(self, kind: ArchiveKind) -> Path:
        if kind is ArchiveKind.COMPLETE:
            return self.sites.complete(since=self.since)
        return self.sites.partial(recent_window(), since=self.since)

    def _assert_loaded(self, step: Step, report: LoadReport) -> None:
        assert not self._reasons(), "\n".join(self._reasons())
        assert [loaded.manifest.kind for loaded in report.loaded] == [step.kind]
        assert report.refused == (), str(report.refused)
        assert report.chain is not None
        assert report.chain.gaps == ()
        if step.deletes is not None:
            deletions = _deletions(report)
            assert deletions == dict(step.deletes), f"the plan deletes {deletions}"

    def _assert_parked(self, words: Sequence[str], before: Contents) -> None:
        (reason,) = self._reasons()
        assert [word for word in words if word not in reason] == [], reason
        found = differences(before, everything(self.servers.receiver))
        assert not found, f"parked ({reason}), and yet it changed {pformat(found)}"

    def _reasons(self) -> list[str]:
        aside = [*list_parked(self.sites.spool), *list_quarantined(self.sites.spool)]
        reasons = [(archive.state, read_reason(archive.path)) for archive in aside]
        return [
            f"{state}: {reason.reason} -> {reason.remedy}" if reason else f"{state} without a word"
            for state, reason in reasons
        ]

    def _answer(self, queries: Sequence[Query]) -> None:
        with session(self.servers.receiver) as connection:
            for query in queries:
                answer = connection.execute(query.sql.encode()).fetchall()
                assert answer == list(query.answer), f"{query.sql} gives {answer}"


def run_sql(url: str, text: str) -> None:
    """Run statements, as one transaction between each two ``;;``."""
    execute(url, *(part for part in text.split(";;") if part.strip()))


def _deletions(report: LoadReport) -> Mapping[str, int]:
    """Of the replicated tables; what the receiver has of its own, the tests ask for."""
    return {
        plan.table: plan.deleted
        for loaded in report.loaded
        for plan in loaded.tables
        if plan.deleted and not plan.table.startswith("own")
    }
