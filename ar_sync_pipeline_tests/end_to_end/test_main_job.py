"""The main job, end to end through both code locations with real parts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline_tests.fix_dagster import Deployment, dagster_command
from ar_sync_pipeline_tests.fix_sites import execute, rows

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"


def equal(deployment: Deployment) -> bool:
    return rows(deployment.sender_url, CHILDREN) == rows(deployment.receiver_url, CHILDREN)


@pytest.mark.long
def test_complete_then_partial_then_complete_end_equal(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert equal(deployment)
    execute(
        deployment.sender_url,
        "INSERT INTO app_parent (id, code) VALUES (99, 'new')",
        "INSERT INTO app_child (parent_id, amount) VALUES (99, 0.5)",
        "UPDATE app_child SET amount = 7 WHERE id = 3",
    )
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert equal(deployment)
    execute(deployment.sender_url, "DELETE FROM app_child WHERE id % 3 = 0")
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert equal(deployment)
    assert (deployment.folder / "receiver_media" / "bus.jpeg").read_bytes() == b"picture"


@pytest.mark.long
def test_spool_and_scratch_are_clean_behind_a_load(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    waiting = [path.name for path in (deployment.spool / "complete").iterdir()]
    assert len(waiting) == 1
    assert waiting[0].startswith("NEW_backup_complete_")
    deployment.succeed("complete_loaddata")
    applied = [path.name for path in (deployment.spool / "complete").iterdir()]
    assert applied == [waiting[0].removeprefix("NEW_")]
    assert list((deployment.spool / ".incoming").iterdir()) == []
    build, manifest, *journals = sorted(p.name for p in (deployment.folder / "scratch").iterdir())
    assert build.startswith("ar_sync_build_"), "the results of the run's steps, without members"
    assert manifest.startswith("ar_sync_manifest_")
    assert journals == [
        "ar_sync_media.sqlite",
        "ar_sync_objects.json",
        "ar_sync_receiver.json",
        "ar_sync_ruled.json",
        "ar_sync_sent.json",
        "ar_sync_server_clocks.json",
    ]


@pytest.mark.long
def test_load_without_anything_new_succeeds_and_changes_nothing(deployment: Deployment) -> None:
    deployment.succeed("complete_loaddata")
    deployment.succeed("partial_loaddata")
    assert rows(deployment.receiver_url, "SELECT count(*) FROM app_child") == [(0,)]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_jobs_run_from_the_command_line_with_only_variables_set(
    deployment: Deployment, kind: str
) -> None:
    execute(deployment.sender_url, "UPDATE app_child SET changed = now() - interval '7 minutes'")
    for side, job in (("sender", f"{kind}_dump"), ("receiver", f"{kind}_loaddata")):
        environment = (
            deployment.sender_environment()
            if side == "sender"
            else deployment.receiver_environment()
        )
        done = dagster_command(
            "dagster", "job", "execute", "-m", f"ar_sync_pipeline.{side}", "-j", job,
            environment=environment, home=deployment.home,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "RUN_SUCCESS" in done.stderr
    assert equal(deployment)


class TestBadInput:
    """A failed run has one message with the remedy, changes nothing, and keeps the archive."""

    def test_unreachable_sender_database(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
        deployment.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = (
            "postgresql://someone:secret-word@127.0.0.1:1/nowhere"
        )
        self.fails(deployment, "complete_dump", "127.0.0.1:1/nowhere", "check that the server")

    def test_missing_database(self, deployment: Deployment) -> None:
        url = deployment.sender_url.rpartition("/")[0] + "/nowhere"
        deployment.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = url
        self.fails(deployment, "complete_dump", "does not exist", "check the role")

    def test_unknown_host_key(self, deployment: Deployment) -> None:
        deployment.sftp.known_hosts.write_text("")
        self.fails(deployment, "complete_dump", "SHA256:", "known")

    def test_refused_login(self, deployment: Deployment) -> None:
        deployment.sender_changes["AR_SYNC_REMOTE_USER"] = "somebody"
        self.fails(deployment, "complete_dump", "somebody", "authorized_keys")

    def test_missing_spool(self, deployment: Deployment) -> None:
        deployment.sender_changes["AR_SYNC_REMOTE_BKP_FLDR"] = "/elsewhere"
        self.fails(deployment, "complete_dump", "/elsewhere", "AR_SYNC_REMOTE_BKP_FLDR")

    @pytest.mark.long
    def test_flipped_byte(self, deployment: Deployment) -> None:
        deployment.succeed("complete_dump")
        (path,) = (deployment.spool / "complete").iterdir()
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        self.fails(deployment, "complete_loaddata", path.name, "sha256")
        assert rows(deployment.receiver_url, "SELECT count(*) FROM app_child") == [(0,)]
        assert (deployment.spool / "quarantine" / path.name).exists()
        (reason,) = (deployment.spool / "quarantine").glob("*.reason.json")
        assert json.loads(reason.read_text())["remedy"]

    @pytest.mark.long
    def test_receiver_that_lacks_a_column_parks_and_loads_by_itself_later(
        self, deployment: Deployment
    ) -> None:
        execute(deployment.receiver_url, "ALTER TABLE app_child DROP amount")
        deployment.succeed("complete_dump")
        self.fails(deployment, "complete_loaddata", "app_child.amount", "migrate")
        assert len(list((deployment.spool / "parked").glob("NEW_*.tar"))) == 1
        execute(deployment.receiver_url, "ALTER TABLE app_child ADD amount double precision")
        deployment.succeed("complete_loaddata")
        assert equal(deployment)

    def fails(self, deployment: Deployment, job: str, *texts: str) -> None:
        outcome = deployment.run(job)
        assert not outcome.succeeded
        sentence = " ".join(outcome.failures)
        for text in texts:
            assert text in sentence
        assert "Traceback" not in sentence
        assert "secret-word" not in sentence


class TestCommandTransform:
    def use(self, deployment: Deployment, script: str, *words: str) -> None:
        path = deployment.folder / "transform.py"
        path.write_text(script)
        line = " ".join(["command:" + sys.executable, str(path), *words])
        deployment.receiver_changes["AR_SYNC_TRANSFORM"] = line

    @pytest.mark.long
    def test_command_is_told_of_the_archive(self, deployment: Deployment) -> None:
        out = deployment.folder / "told"
        self.use(
            deployment,
            "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(' '.join(sys.argv[2:]))",
            str(out), "{archive}", "{minutes}",
        )  # fmt: skip
        deployment.succeed("complete_dump")
        deployment.succeed("complete_loaddata")
        assert out.read_text().startswith("backup_complete_")
        assert out.read_text().endswith(".tar 15")

    @pytest.mark.long
    def test_command_that_fails_never_undoes_a_load(self, deployment: Deployment) -> None:
        self.use(deployment, "import sys; print('what went wrong'); sys.exit(3)")
        deployment.succeed("complete_dump")
        outcome = deployment.run("complete_loaddata")
        assert not outcome.succeeded
        assert "exit status 3" in outcome.failures[0]
        assert equal(deployment)
        (applied,) = (deployment.spool / "complete").iterdir()
        assert not applied.name.startswith("NEW_")


@pytest.mark.long
def test_two_locations_of_the_workspace_validate(deployment: Deployment) -> None:
    """Both sides on one host share the variable of the spool, so it must be the same path."""
    root = Path(__file__).parents[2]
    spool = deployment.spool
    environment = {
        **deployment.receiver_environment(),
        **deployment.sender_environment(),
        "AR_SYNC_REMOTE_BKP_FLDR": str(spool),
    }
    done = dagster_command(
        "dagster", "definitions", "validate", "-w", str(root / "workspace.yaml"),
        environment=environment, home=deployment.home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation" in done.stderr + done.stdout
    assert "WARNING" not in done.stderr


@pytest.mark.long
def test_wrong_settings_are_all_named_when_a_location_loads(deployment: Deployment) -> None:
    environment = deployment.sender_environment() | {
        "AR_SYNC_TIME": "5",
        "AR_SYNC_REMOTE_PORT": "ssh",
    }
    done = dagster_command(
        "dagster", "definitions", "validate", "-m", "ar_sync_pipeline.sender",
        environment=environment, home=deployment.home,
    )  # fmt: skip
    assert done.returncode != 0
    said = done.stderr + done.stdout
    assert "AR_SYNC_TIME" in said
    assert "AR_SYNC_REMOTE_PORT" in said
