"""Defects of the old system on the way between the servers, tried on the jobs themselves."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from ar_sync_pipeline_tests.fix_dagster import Deployment
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


def test_d14_dump_that_cannot_connect_sends_nothing_and_fails(deployment: Deployment) -> None:
    """The old one sent an archive with an empty dump in it, and reported success."""
    there = deployment.sender_url
    deployment.sender_url = there.rpartition("/")[0] + "/absent"
    outcome = deployment.run("complete_dump")
    assert not outcome.succeeded
    assert "absent" in outcome.failures[0]
    assert waiting(deployment) == []
    assert list(deployment.spool.glob(".incoming/*")) == []


def test_d15_partial_without_a_picture_travels(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "UPDATE app_child SET amount = -1, changed = now() WHERE id = 7")
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert rows(deployment.receiver_url, "SELECT amount FROM app_child WHERE id = 7") == [(-1.0,)]


def test_d17_d18_d19_d36_d40_names_and_paths_are_data_on_the_whole_way(
    deployment: Deployment,
) -> None:
    """Names that were options, words or paths; folders with blanks, quotes and dollars."""
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
    assert sorted(path.name for path in scratch.iterdir() if path.is_dir()) == []


def test_d38_changed_picture_is_replaced_by_the_next_complete(deployment: Deployment) -> None:
    picture = deployment.folder / "sender_media" / "bus.jpeg"
    for content in (b"first", b"second, and longer"):
        picture.write_bytes(content)
        deployment.succeed("complete_dump")
        deployment.succeed("complete_loaddata")
        assert (deployment.folder / "receiver_media" / "bus.jpeg").read_bytes() == content


def test_d32_receiver_that_was_off_for_days_finds_everything(deployment: Deployment) -> None:
    """The old sender's housekeeping had deleted the archives before they were looked at."""
    deployment.succeed("complete_dump")
    archives = waiting(deployment)
    for archive in archives:
        shutil.copystat(__file__, archive)  # as old as this file
    deployment.succeed("complete_dump")
    deployment.succeed("partial_dump")
    assert set(archives) < set(waiting(deployment))
    deployment.succeed("complete_loaddata")
    assert len(rows(deployment.receiver_url, "SELECT 1 FROM app_child")) == 300
