"""Signing keys: which ones are refused, and how they are rotated without a pause."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.settings.loading import load
from ar_sync_pipeline.settings.model import SettingsError, load_sender_settings
from ar_sync_pipeline.settings.signing import SigningSettings, load_signing_keys, strong_secret
from ar_sync_pipeline.signing_keys import SigningKeys
from ar_sync_pipeline.spool.states import list_quarantined
from ar_sync_pipeline.sync.dump.receiver_view import observe_receiver
from ar_sync_pipeline_tests.archive.building import make_source, write_archive
from ar_sync_pipeline_tests.fix_dagster import Deployment

OLD, NEW = "2b7e151628aed2a6abf7158809cf4f3c", "603deb1015ca71be2b73aef0857d7781"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
IN_TWO_WEEKS = (datetime.now(UTC) + timedelta(days=14)).isoformat()
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()

BEFORE = {"AR_SYNC_SIGNING_KEY": OLD}
DURING = {
    "AR_SYNC_SIGNING_KEY": NEW,
    "AR_SYNC_OLD_SIGNING_KEY": OLD,
    "AR_SYNC_OLD_SIGNING_KEY_UNTIL": IN_TWO_WEEKS,
}
AFTER = {"AR_SYNC_SIGNING_KEY": NEW}
EXPIRED = DURING | {"AR_SYNC_OLD_SIGNING_KEY_UNTIL": YESTERDAY}


class _Other(BaseModel):
    """An other side without variables."""


def settings(**changes: str) -> SigningSettings:
    environ = {f"AR_SYNC_{name.upper()}": value for name, value in changes.items()}
    return load(SigningSettings, side="sender", other=_Other, environ=environ)


@pytest.mark.parametrize(
    "weak",
    [
        *("a" * 64, "ab" * 32, "abc123" * 12, "0" * 32 + "1" * 32),
        *("0123456789abcdef", "0123456789abcdef" * 4, "abcdefghijklmnopqrstuvwxyz0123456789"),
        *("fedcba9876543210" * 2, "password" * 4, "changeme-changeme-changeme", "secret" * 10),
        *("qwertyuiopasdfgh", "1234567890" * 5, "hunter2hunter2hunter2", "x" * 15, "ab12" * 100),
    ],
)  # fmt: skip
def test_key_that_can_be_guessed_is_refused_and_not_shown(weak: str) -> None:
    for name in ("signing_key", "old_signing_key"):
        with pytest.raises(SettingsError) as refused:
            settings(**{name: weak})
        assert "openssl rand -hex 32" in str(refused.value)
        assert weak not in str(refused.value)


@given(st.integers(0, 2**32))
def test_random_key_is_accepted_in_every_usual_spelling(seed: int) -> None:
    value = random.Random(seed).randbytes(32)  # noqa: S311  to be found again
    strong_secret(value.hex())
    strong_secret(base64.b64encode(value).decode())
    strong_secret(base64.urlsafe_b64encode(value[:24]).decode())


def test_words_that_nobody_guesses_are_accepted() -> None:
    strong_secret("correct horse battery staple of two servers")


def test_old_key_counts_until_its_end_and_never_signs_first() -> None:
    keys = SigningKeys(b"new", b"old", NOW)
    assert keys.accepted(NOW - timedelta(seconds=1)) == (b"new", b"old")
    assert keys.accepted(NOW) == (b"new",)
    assert SigningKeys().accepted(NOW) == ()
    assert "new" not in repr(keys)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31T12:00:00Z", datetime(2026, 12, 31, 12, tzinfo=UTC)),
        ("2026-12-31T12:00-03:00", datetime(2026, 12, 31, 15, tzinfo=UTC)),
    ],
)
def test_end_of_a_key_is_a_date_or_a_time_with_its_zone(written: str, means: datetime) -> None:
    found = settings(signing_key=NEW, old_signing_key=OLD, old_signing_key_until=written)
    assert found.signing_keys == SigningKeys(NEW.encode(), OLD.encode(), means)


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"old_signing_key_until": "2026-12-31T12:00:00"}, "AR_SYNC_OLD_SIGNING_KEY_UNTIL"),
        ({"old_signing_key_until": "tomorrow"}, "AR_SYNC_OLD_SIGNING_KEY_UNTIL"),
        ({"old_signing_key_until": "0001-01-01T00:00:00+23:00"}, "AR_SYNC_OLD_SIGNING_KEY_UNTIL"),
        ({"old_signing_key_until": ""}, "AR_SYNC_OLD_SIGNING_KEY_UNTIL"),
        ({"old_signing_key": ""}, "AR_SYNC_OLD_SIGNING_KEY_UNTIL"),
        ({"old_signing_key": NEW}, "AR_SYNC_OLD_SIGNING_KEY"),
        ({"signing_key": ""}, "AR_SYNC_OLD_SIGNING_KEY"),
    ],
)
def test_half_a_rotation_is_a_validation_error(changes: dict[str, str], variable: str) -> None:
    whole = {
        "signing_key": NEW, "old_signing_key": OLD, "old_signing_key_until": "2026-12-31"
    }  # fmt: skip
    with pytest.raises(SettingsError) as refused:
        settings(**(whole | changes))
    assert [found.variable for found in refused.value.problems] == [variable]


class TestRotation:
    """The receiver changes its keys first, then the sender.

    At each step, archives, receipts and checkpoint are accepted in both directions.
    """

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("receiver", "sender"),
        [(BEFORE, BEFORE), (DURING, BEFORE), (DURING, DURING), (DURING, AFTER), (AFTER, AFTER)],
        ids=["before", "receiver changed", "both changed", "sender is through", "after"],
    )  # fmt: skip
    def test_no_step_pauses_anything(
        self, deployment: Deployment, receiver: dict[str, str], sender: dict[str, str]
    ) -> None:
        deployment.receiver_changes |= receiver
        deployment.sender_changes |= sender
        deployment.succeed("complete_dump")
        deployment.succeed("complete_loaddata")
        seen = observe_receiver(load_sender_settings(deployment.sender_environment()), utc_now)
        assert seen.problems == ()
        assert seen.checkpoint is not None
        assert len(seen.receipts) == 1

    @pytest.mark.long
    def test_what_was_signed_before_a_step_is_believed_after_it(
        self, deployment: Deployment
    ) -> None:
        """An archive in the spool, and receipts that are not written again."""
        deployment.receiver_changes |= BEFORE
        deployment.sender_changes |= BEFORE
        deployment.succeed("complete_dump")
        deployment.receiver_changes |= DURING
        deployment.succeed("complete_loaddata")
        deployment.sender_changes |= DURING
        changed = load_sender_settings(deployment.sender_environment())
        assert observe_receiver(changed, utc_now).problems == ()
        deployment.succeed("partial_dump")
        deployment.succeed("partial_loaddata")
        assert list_quarantined(deployment.spool) == []

    @pytest.mark.long
    def test_after_its_end_the_old_key_signs_nothing_in(self, deployment: Deployment) -> None:
        deployment.sender_changes |= BEFORE
        deployment.receiver_changes |= EXPIRED
        deployment.succeed("complete_dump")
        deployment.run("complete_loaddata")
        assert len(list_quarantined(deployment.spool)) == 1
        view = observe_receiver(load_sender_settings(deployment.sender_environment()), utc_now)
        assert view.checkpoint is None
        assert any("not signed" in problem for problem in view.problems)


class TestVerifyCommand:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        source = make_source(
            tmp_path / "files", media={"a.jpeg": b"picture"}, tables={}, key=OLD.encode()
        )
        return write_archive(tmp_path, source)

    @pytest.mark.parametrize(
        ("environ", "code"), [(BEFORE, 0), (DURING, 0), (EXPIRED, 1), (AFTER, 1), ({}, 0)]
    )
    def test_keys_are_read_from_the_env_file_as_by_all_others(
        self,
        archive: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        environ: dict[str, str],
        code: int,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in DURING:
            monkeypatch.delenv(name, raising=False)
        lines = [f"{name}={value}\n" for name, value in environ.items()]
        (tmp_path / ".env").write_text("".join(lines))
        result = CliRunner().invoke(main, ["verify", str(archive), "--json"])
        assert result.exit_code == code, result.output
        if environ and not code:
            assert json.loads(result.stdout)["signature"] == "checked"

    def test_date_that_cannot_be_read_is_a_usage_error(self, archive: Path) -> None:
        environ = DURING | {"AR_SYNC_OLD_SIGNING_KEY_UNTIL": "soon"}
        result = CliRunner().invoke(main, ["verify", str(archive)], env=environ)
        assert result.exit_code == 2
        assert "AR_SYNC_OLD_SIGNING_KEY_UNTIL" in result.stderr
        with pytest.raises(SettingsError):
            load_signing_keys(environ)


@pytest.mark.long
def test_without_a_key_the_commands_say_so_and_nothing_fails(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    environ = deployment.sender_environment()
    for command in ("check", "status"):
        shown = CliRunner().invoke(main, [command], env=environ)
        assert shown.exit_code == 0, shown.output
        assert "AR_SYNC_SIGNING_KEY is not set" in shown.stdout
        signed = CliRunner().invoke(main, [command], env=environ | BEFORE)
        assert "is not set" not in signed.stdout
