"""Every selection that is materialized at the sender ends with an archive in the spool."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key, media_bundle_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import keys_of
from ar_sync_pipeline_tests.fix_dagster import Deployment

PARENT = dg.AssetKey(["complete", "tables", "app_parent"])
CHILD = dg.AssetKey(["complete", "tables", "app_child"])
MEDIA, ARCHIVE = (
    media_bundle_key(ArchiveKind.COMPLETE, ALONE),
    archive_key(ArchiveKind.COMPLETE, ALONE),
)
CHANGED_ROWS = dg.AssetKey(["partial", "tables", "app_child"])
PARTIAL = archive_key(ArchiveKind.PARTIAL, ALONE)
SELECTIONS = {
    "one table": [PARENT],
    "media only": [MEDIA],
    "the archive only": [ARCHIVE],
    "a table and the archive": [CHILD, ARCHIVE],
    "tables and media": [PARENT, CHILD, MEDIA],
    "media and archive": [MEDIA, ARCHIVE],
    "everything": [PARENT, CHILD, MEDIA, ARCHIVE],
}


class Operator:
    """A user who selects assets in the UI of a sender and presses *Materialize*."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance

    def materialize(self, selection: list[dg.AssetKey], *windows: str) -> bool:
        job = self.deployment.sender_definitions().resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=selection,
            raise_on_error=False,
            partition_key=windows[0] if len(windows) == 1 else None,
            tags=_range(windows) if len(windows) > 1 else {},
        ).success

    def made(self, key: dg.AssetKey) -> list[dg.AssetMaterialization]:
        """Return the materializations of an asset, newest first."""
        records = self.instance.fetch_materializations(key, limit=100).records
        return [r.asset_materialization for r in records if r.asset_materialization]

    def archives(self, kind: ArchiveKind) -> int:
        return len(list((self.deployment.spool / kind).glob("NEW_*.tar")))


def _range(windows: tuple[str, ...]) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": windows[0],
        "dagster/asset_partition_range_end": windows[-1],
    }


@pytest.fixture
def operator(deployment: Deployment) -> Iterator[Operator]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Operator(deployment, instance)


@pytest.mark.long
@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS)
def test_every_selection_of_a_complete_makes_and_reports_the_whole_once(
    operator: Operator, selection: list[dg.AssetKey]
) -> None:
    assert operator.materialize(selection)
    assert operator.archives(ArchiveKind.COMPLETE) == 1
    assert {key: len(operator.made(key)) for key in (PARENT, CHILD, MEDIA, ARCHIVE)} == {
        PARENT: 1, CHILD: 1, MEDIA: 1, ARCHIVE: 1,
    }  # fmt: skip
    (child,) = operator.made(CHILD)
    assert child.metadata["dagster/row_count"].value == 300
    (build,) = (operator.deployment.folder / "scratch").glob("ar_sync_build_*")
    assert not (build / "members").exists()


@pytest.mark.long
@pytest.mark.parametrize("selection", [[PARTIAL], [CHANGED_ROWS]], ids=["archive", "one table"])
def test_a_window_of_one_partial_asset_is_a_window_of_all(
    operator: Operator, selection: list[dg.AssetKey]
) -> None:
    (window,) = windows(1)
    assert operator.materialize(selection, window)
    assert operator.archives(ArchiveKind.PARTIAL) == 1
    for key in operator.deployment.partial_assets():
        assert [event.partition for event in operator.made(key)] == [window], key


@pytest.mark.long
@pytest.mark.parametrize(
    "selection", [None, [PARTIAL], [CHANGED_ROWS]], ids=["all", "one", "table"]
)
def test_an_archive_of_several_windows_has_its_size_at_the_newest_of_them_only(
    operator: Operator, selection: list[dg.AssetKey] | None
) -> None:
    four = windows(4)
    assert operator.materialize(selection or operator.deployment.partial_assets(), *four)
    for key in (PARTIAL, CHANGED_ROWS):
        by_window = {event.partition: event.metadata for event in operator.made(key)}
        assert by_window.keys() == set(four)
        assert [window for window, shown in by_window.items() if "size_bytes" in shown] == [four[3]]
        others = [by_window[window]["figures_at_window"].value for window in four[:3]]
        assert others == [four[3]] * 3


@pytest.mark.long
@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("selection", [None, [ARCHIVE, PARTIAL]], ids=["all", "archives"])
def test_one_run_of_all_assets_makes_an_archive_of_each_kind(
    operator: Operator, selection: list[dg.AssetKey] | None, many: int
) -> None:
    """Both kinds have steps between those of the other; only assets of partials have windows."""
    graph = operator.deployment.sender_definitions().resolve_asset_graph()
    chosen = windows(many)
    assert operator.materialize(selection or sorted(graph.materializable_asset_keys), *chosen)
    assert [operator.archives(kind) for kind in ArchiveKind] == [1, 1]
    for key in (PARENT, CHILD, MEDIA, ARCHIVE):
        assert [event.partition for event in operator.made(key)] == [None], key
        assert "figures_at_window" not in operator.made(key)[0].metadata
    assert {event.partition for event in operator.made(PARTIAL)} == set(chosen)


def windows(many: int) -> list[str]:
    """Return the keys of some closed windows of five minutes."""
    now = datetime.now(UTC)
    end = now.replace(minute=now.minute - now.minute % 5, second=0, microsecond=0)
    return keys_of(end - many * timedelta(minutes=5), end, 5)
