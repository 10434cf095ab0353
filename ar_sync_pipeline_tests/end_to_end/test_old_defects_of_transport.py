"""Defects of the old system's transport between the servers, tested with the jobs themselves."""

from __future__ import annotations

import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ar_sync_pipeline_tests.fix_dagster import Deployment, dagster_command
from ar_sync_pipeline_tests.fix_sites import execute, rows

_ODD_NAMES = (
    "-rf.jpeg",
    "ñandú-foto-grande.jpeg",
    "two words $HOME `id`.jpeg",
    'it\'s "quoted".jpeg',
    "x.jpeg",
)


def waiting(deployment: Deployment) -> list[Path]:
    return sorted(deployment.spool.glob("*/NEW_*"))


@pytest.mark.long
def test_d10_receiver_that_loads_during_an_upload_takes_nothing_of_it(
    deployment: Deployment,
) -> None:
    """The old system took 6 of 37 MB, failed, and wrote the rest into the renamed file."""
    picture = bytes(range(256)) * 30_000
    (deployment.folder / "sender_media" / "bus.jpeg").write_bytes(picture)
    deployment.sender_changes["AR_SYNC_BANDWIDTH_LIMIT"] = "8"
    command = ["job", "execute", "-m", "ar_sync_pipeline.sender", "-j", "complete_dump"]
    with ThreadPoolExecutor(1) as other_machine:
        upload = other_machine.submit(
            dagster_command,
            "dagster",
            *command,
            environment=deployment.sender_environment(),
            home=deployment.home,
        )
        while not list(deployment.spool.glob(".incoming/*.part")) and not upload.done():
            time.sleep(0.01)
        # A load is started by hand during the upload.
        deployment.run("complete_loaddata")
        during = (upload.done(), rows(deployment.receiver_url, "SELECT 1 FROM app_parent"))
        result = upload.result()
    assert result.returncode == 0, result.stderr
    assert during == (False, [])
    assert len(waiting(deployment)) == 1
    deployment.succeed("complete_loaddata")
    assert (deployment.folder / "receiver_media" / "bus.jpeg").read_bytes() == picture
    assert len(rows(deployment.receiver_url, "SELECT 1 FROM app_parent")) == 20


@pytest.mark.long
def test_d14_dump_that_cannot_connect_sends_nothing_and_fails(deployment: Deployment) -> None:
    """The old system sent an archive with an empty dump, and reported success."""
    there = deployment.sender_url
    deployment.sender_url = there.rpartition("/")[0] + "/absent"
    outcome = deployment.run("complete_dump")
    assert not outcome.succeeded
    assert "absent" in outcome.failures[0]
    assert waiting(deployment) == []
    assert list(deployment.spool.glob(".incoming/*")) == []


@pytest.mark.long
def test_d15_partial_without_a_picture_is_sent(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "UPDATE app_child SET amount = -1, changed = now() WHERE id = 7")
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert rows(deployment.receiver_url, "SELECT amount FROM app_child WHERE id = 7") == [(-1.0,)]


@pytest.mark.long
def test_d17_d18_d19_d36_d40_names_and_paths_are_data_on_the_whole_way(
    deployment: Deployment,
) -> None:
    """Names that look like options, words or paths; folders with blanks, quotes and dollars."""
    secret = deployment.folder / "ssh" / "secret-outside.jpeg"
    secret.parent.mkdir()
    secret.write_bytes(b"secret of the machine")
    media = deployment.folder / "sender media $(id) 'x'"
    media.mkdir()
    for name in _ODD_NAMES:
        (media / name).write_bytes(name.encode())
    scratch = deployment.folder / "scratch `x` $HOME"
    scratch.mkdir()
    theirs = deployment.folder / "receiver_media"
    theirs.rmdir()
    received = deployment.folder / "receiver; rm -rf $HOME"
    received.mkdir()
    deployment.sender_changes |= {
        "AR_SYNC_SENDER_MEDIA_FLDR": str(media),
        "AR_SYNC_TMP_BKP_FLDR": str(scratch),
    }
    deployment.receiver_changes["AR_SYNC_RECEIVER_MEDIA_FLDR"] = str(received)
    statements = [
        f"UPDATE app_child SET picture = '{name.replace(chr(39), chr(39) * 2)}' WHERE id = {number}"
        for number, name in enumerate((*_ODD_NAMES, "../ssh/secret-outside.jpeg"), start=10)
    ]
    execute(deployment.sender_url, *statements)
    deployment.succeed("complete_dump")
    (archive,) = waiting(deployment)
    content = archive.read_bytes()
    facts_of_the_host = (platform.version().encode(), b"inet ")
    for private in (b"secret of the machine", str(Path.home()).encode() + b"/", *facts_of_the_host):
        assert private not in content
    assert str(deployment.folder).encode() not in content
    deployment.succeed("complete_loaddata")
    assert {path.name: path.read_bytes() for path in received.iterdir()} == {
        name: name.encode() for name in _ODD_NAMES
    }
    assert secret.read_bytes() == b"secret of the machine"
    assert list(scratch.glob("ar_sync_build_*/members")) == []


@pytest.mark.long
def test_d38_changed_picture_is_replaced_by_the_next_complete(deployment: Deployment) -> None:
    picture = deployment.folder / "sender_media" / "bus.jpeg"
    for content in (b"first", b"second, and longer"):
        picture.write_bytes(content)
        deployment.succeed("complete_dump")
        deployment.succeed("complete_loaddata")
        assert (deployment.folder / "receiver_media" / "bus.jpeg").read_bytes() == content


@pytest.mark.long
def test_d32_receiver_that_was_off_for_days_finds_everything(deployment: Deployment) -> None:
    """The old sender's cleanup deleted the archives before the receiver read them."""
    deployment.succeed("complete_dump")
    archives = waiting(deployment)
    for archive in archives:
        shutil.copystat(__file__, archive)  # as old as this file
    deployment.succeed("complete_dump")
    deployment.succeed("partial_dump")
    assert set(archives) < set(waiting(deployment))
    deployment.succeed("complete_loaddata")
    assert len(rows(deployment.receiver_url, "SELECT 1 FROM app_child")) == 300
