"""Definitions of one code location: with one instance for both sides, each reports its own."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from ar_sync_pipeline.operations.alerts.problem_areas import Area, areas_by_error
from ar_sync_pipeline.operations.dagster_internals import IMPLICIT_ASSET_JOB_NAME
from ar_sync_pipeline.operations.runs.run_assets import assets_of
from ar_sync_pipeline.package_files import runbook_page


@dataclass(frozen=True)
class SharedSteps:
    """Steps of several jobs of which one does only a part of the work of the other.

    Attributes:
        names: Names of the steps.
        does_part: Whether a run does only the part.
        rest_waits: Whether something waits now that only a run of the whole does.
    """

    names: frozenset[str] = frozenset()
    does_part: Callable[[dg.DagsterRun], bool] = lambda _: False
    rest_waits: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class AlertScope:
    """Jobs, assets, checks, schedules and sensors of a side.

    Attributes:
        side: Its value of the tag ``ar_sync/side``, which begins with the name of its pair.
        jobs: Names of its jobs.
        assets: Keys of the assets that it makes or checks.
        checks: Specification of each check.
        steps: Names of the steps of its assets and checks.
        instigators: Names of schedules and sensors.
        areas: Areas by the code of an error.
        checks_of_areas: Checks that evaluate an area; their failures belong to the area.
        muted: Checks that fail as a consequence of another problem, with the key of that cause.
        proofs: Steps that succeed only if a cause works, with the key of that cause.
        docs_url: Address under which the folder ``docs`` is published; None: it is not.
        shared: Steps of which some runs do only a part.
    """

    side: str
    jobs: frozenset[str]
    assets: frozenset[dg.AssetKey]
    checks: Mapping[dg.AssetCheckKey, dg.AssetCheckSpec]
    steps: frozenset[str]
    instigators: frozenset[str]
    areas: Mapping[str, Area]
    checks_of_areas: Mapping[dg.AssetCheckKey, Area]
    muted: Mapping[dg.AssetCheckKey, str]
    proofs: Mapping[str, str]
    docs_url: str | None
    shared: SharedSteps = SharedSteps()

    def page(self, name: str) -> str:
        """Return the address or path of a runbook page."""
        return runbook_page(name, self.docs_url)

    def covers(self, run: dg.DagsterRun) -> bool:
        """Return whether a run belongs to this side."""
        if is_by_hand(run):
            return bool(self.assets & assets_of(run))
        return run.job_name in self.jobs

    def has_step(self, run: dg.DagsterRun, step: str) -> bool:
        """Return whether a step of a covered run belongs to this side.

        A run by hand can have assets of several sides and pairs.
        """
        return step in self.steps or not is_by_hand(run)


def is_by_hand(run: dg.DagsterRun) -> bool:
    """Return whether the UI or a backfill started a run for selected assets, without a job."""
    return run.job_name == IMPLICIT_ASSET_JOB_NAME


def scope_of(
    side: str,
    definitions: dg.Definitions,
    areas: tuple[Area, ...],
    *,
    checks_of_areas: Mapping[dg.AssetCheckKey, Area],
    muted: Mapping[dg.AssetCheckKey, str],
    proofs: Mapping[str, str],
    docs_url: str | None,
) -> AlertScope:
    """Return everything that a code location defines.

    External assets are left out: the other side makes them, and reports its runs.
    """
    assets: set[dg.AssetKey] = set()
    checks: dict[dg.AssetCheckKey, dg.AssetCheckSpec] = {}
    steps: set[str] = set()
    for found in (*(definitions.assets or ()), *(definitions.asset_checks or ())):
        if isinstance(found, dg.AssetsDefinition):
            assets |= set(found.keys)
            checks |= {spec.key: spec for spec in found.check_specs}
            steps |= {found.node_def.name} if found.is_executable else set()
    assets |= {key.asset_key for key in checks}
    return AlertScope(
        side,
        _names(definitions.jobs),
        frozenset(assets),
        checks,
        frozenset(steps),
        _names(definitions.schedules) | _names(definitions.sensors),
        areas_by_error(areas),
        checks_of_areas,
        muted,
        proofs,
        docs_url,
    )


def _names(found: Iterable[object] | None) -> frozenset[str]:
    names: Collection[str] = [getattr(one, "name", "") for one in found or ()]
    return frozenset(name for name in names if name)
