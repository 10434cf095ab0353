"""The build folder of a failed dump is kept only as long as its run may be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import time_machine
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.sender.build_cleaning import clean_build_folders
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.settings.model import load_sender_settings
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline.sync.errors import ScratchMissingError
from ar_sync_pipeline_tests.alerts.watched import ORIGIN
from ar_sync_pipeline_tests.fix_dagster import Deployment

PARTIAL, COMPLETE = ArchiveKind.PARTIAL, ArchiveKind.COMPLETE


class Sender:
    """A scratch folder, and the instance with the runs that used it."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.settings = load_sender_settings(deployment.sender_environment())
        self.instance = instance

    def run(
        self, *, root: str | None = None, retries: bool = False, launched: bool = True
    ) -> dg.DagsterRun:
        tags = {"dagster/will_retry": "true"} if retries else {}
        if root is not None:
            tags |= {"dagster/root_run_id": root, "dagster/parent_run_id": root}
        run: dg.DagsterRun = create_run_for_test(
            self.instance,
            "complete_dump",
            status=dg.DagsterRunStatus.STARTED,
            tags=tags,
            remote_job_origin=ORIGIN if launched else None,
        )
        open_build(self.settings.tmp_bkp_fldr, root or run.run_id)
        return run

    def left(self, kind: ArchiveKind, later: timedelta = timedelta()) -> set[str]:
        """Return the run ids of the folders that are left when a dump begins."""
        site = SenderSite(self.settings, load_catalog(), lambda: datetime.now(UTC) + later)
        clean_build_folders(site, dg.build_asset_context(instance=self.instance), kind)
        return {p.name.removeprefix("ar_sync_build_") for p in self.scratch.glob("*_build_*")}

    @property
    def scratch(self) -> Path:
        return self.settings.tmp_bkp_fldr


@pytest.fixture
def sender(deployment: Deployment) -> Iterator[Sender]:
    with dg.DagsterInstance.local_temp(str(deployment.home)) as instance:
        yield Sender(deployment, instance)


@pytest.mark.parametrize("ended", ["failed", "canceled"])
def test_ended_run_may_be_resumed_for_an_hour_and_until_the_next_complete(
    sender: Sender, ended: str
) -> None:
    run = sender.run()
    if ended == "failed":
        sender.instance.report_run_failed(run)
    else:
        sender.instance.report_run_canceled(run)
    assert sender.left(PARTIAL) == {run.run_id}
    assert sender.left(PARTIAL, timedelta(minutes=59)) == {run.run_id}
    assert sender.left(COMPLETE) == set()


def test_folder_of_a_partial_is_that_of_its_run(sender: Sender) -> None:
    """One run may make an archive of either kind, each of them in its own folder."""
    run = sender.run()
    partial = open_build(sender.scratch, run.run_id, PARTIAL)
    both = {run.run_id, partial.path.name.removeprefix("ar_sync_build_")}
    assert len(both) == 2
    assert sender.left(COMPLETE, timedelta(hours=30)) == both
    sender.instance.report_run_failed(run)
    assert sender.left(PARTIAL, timedelta(minutes=61)) == set()


def test_ended_run_is_not_resumed_after_an_hour(sender: Sender) -> None:
    sender.instance.report_run_failed(sender.run())
    assert sender.left(PARTIAL, timedelta(minutes=61)) == set()


@pytest.mark.parametrize("kind", [PARTIAL, COMPLETE])
def test_run_that_a_clock_ended_in_the_future_is_not_resumed(
    sender: Sender, kind: ArchiveKind
) -> None:
    run = sender.run()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=30)):
        sender.instance.report_run_failed(run)
    assert sender.left(kind) == set()


def test_running_run_keeps_its_folder(sender: Sender) -> None:
    run = sender.run()
    assert sender.left(COMPLETE, timedelta(hours=30)) == {run.run_id}


def test_clock_that_is_ahead_does_not_end_a_run(sender: Sender) -> None:
    run = sender.run()
    assert sender.left(PARTIAL, timedelta(days=30)) == {run.run_id}


def test_run_whose_retry_is_to_come_keeps_its_folder(sender: Sender) -> None:
    run = sender.run(retries=True)
    sender.instance.report_run_failed(run)
    assert sender.left(COMPLETE, timedelta(hours=2)) == {run.run_id}


def test_killed_run_of_a_command_line_is_never_retried_and_its_folder_goes(sender: Sender) -> None:
    """Dagster writes to it, too, that it will be retried, and no daemon can launch it."""
    run = sender.run(retries=True, launched=False)
    sender.instance.report_run_failed(run)
    assert sender.left(PARTIAL) == {run.run_id}
    assert sender.left(PARTIAL, timedelta(minutes=61)) == set()


def test_retry_at_work_keeps_the_folder_of_the_first_run(sender: Sender) -> None:
    first = sender.run()
    sender.instance.report_run_failed(first)
    retry = sender.run(root=first.run_id)
    assert sender.left(COMPLETE, timedelta(hours=2)) == {first.run_id}
    sender.instance.report_run_failed(retry)
    assert sender.left(COMPLETE, timedelta(hours=2)) == set()


def test_folder_of_a_run_that_the_instance_does_not_know_goes_by_its_age(sender: Sender) -> None:
    open_build(sender.scratch, "of-another-instance")
    assert sender.left(COMPLETE, timedelta(hours=47)) == {"of-another-instance"}
    assert sender.left(COMPLETE, timedelta(hours=49)) == set()


def test_folder_of_a_run_that_was_killed_before_it_was_marked_goes_by_its_age(
    sender: Sender,
) -> None:
    """Or while it was removed; what has a file and no mark is somebody else's."""
    killed = str(uuid4())
    (sender.scratch / f"ar_sync_build_{killed}").mkdir()
    foreign = sender.scratch / f"ar_sync_build_{uuid4()}"
    foreign.mkdir()
    (foreign / "file").touch()
    linked = sender.scratch / f"ar_sync_build_{uuid4()}"
    linked.symlink_to(sender.scratch)
    others = {path.name.removeprefix("ar_sync_build_") for path in (foreign, linked)}
    assert sender.left(COMPLETE, timedelta(hours=47)) == {killed, *others}
    assert sender.left(COMPLETE, timedelta(hours=49)) == others


def test_short_disk_gives_back_what_no_run_works_on(sender: Sender) -> None:
    ended, working = sender.run(), sender.run()
    sender.instance.report_run_failed(ended)
    sender.settings = sender.settings.model_copy(update={"free_space_floor": 101})
    assert sender.left(PARTIAL) == {working.run_id}


@pytest.mark.parametrize("kind", [PARTIAL, COMPLETE])
@pytest.mark.parametrize("left", ["nothing", "dangling link", "file in its path"])
def test_missing_scratch_folder_has_the_remedy_of_the_scratch_folder(
    sender: Sender, kind: ArchiveKind, left: str
) -> None:
    """For example because its disk is not mounted."""
    missing = sender.scratch.parent / "unmounted"
    if left == "dangling link":
        missing.symlink_to("nowhere")
    elif left == "file in its path":
        missing.touch()
        missing /= "scratch"
    sender.settings = sender.settings.model_copy(update={"tmp_bkp_fldr": missing})
    with pytest.raises(ScratchMissingError, match="mount its disk") as caught:
        sender.left(kind)
    assert str(missing) in caught.value.problem


@pytest.mark.long
def test_failed_upload_of_a_complete_is_gone_once_the_next_one_is_sent(
    deployment: Deployment,
) -> None:
    deployment.faults.read_only = True
    assert not deployment.run("complete_dump").succeeded
    scratch = deployment.folder / "scratch"
    (failed,) = scratch.glob("ar_sync_build_*")
    deployment.faults.read_only = False
    deployment.succeed("complete_dump")
    (left,) = scratch.glob("ar_sync_build_*")
    assert left != failed
    assert sorted(path.name for path in left.iterdir()) == [
        ".ar_sync_build",
        "MediaBundle.json",
        "TableDump.json",
        "media.sqlite",
    ], "what a retry of its last step needs; the members are gone"


@pytest.mark.long
def test_partial_whose_upload_fails_leaves_no_folder(deployment: Deployment) -> None:
    """Its retry takes a new snapshot, so the next partial may remove what arrived of it."""
    deployment.succeed("complete_dump")
    deployment.faults.read_only = True
    assert not deployment.run("partial_dump").succeeded
    (left,) = (deployment.folder / "scratch").glob("ar_sync_build_*")
    assert (left / "TableDump.json").is_file()
    assert TableDump.model_validate_json((left / "TableDump.json").read_bytes()).window is None
