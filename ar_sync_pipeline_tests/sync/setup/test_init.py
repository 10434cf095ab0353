"""``ar-sync init``: from an empty folder to files with which the other commands work."""

from __future__ import annotations

import json
import os
import resource
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dotenv import dotenv_values

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.sync.setup.new_files import write_new_files
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.sync.setup.schemas import CHINOOK


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("media", "scratch", "spool", "new"):
        (tmp_path / name).mkdir()
    for name in ("key", "known_hosts"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "new")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def sender_values(tmp_path: Path, database_factory: DatabaseFactory) -> dict[str, str]:
    url = database_factory()
    execute(url, CHINOOK)
    return {
        "AR_SYNC_SENDER_DATABASE_URL": url,
        "AR_SYNC_SENDER_MEDIA_FLDR": str(tmp_path / "media"),
        "AR_SYNC_TMP_BKP_FLDR": str(tmp_path / "scratch"),
        "AR_SYNC_REMOTE_HOST": "viz.example.org",
        "AR_SYNC_REMOTE_USER": "ar_sync",
        "AR_SYNC_PRIVATE_KEY": str(tmp_path / "key"),
        "AR_SYNC_KNOWN_HOSTS": str(tmp_path / "known_hosts"),
        "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
    }


@pytest.fixture
def receiver_values(tmp_path: Path) -> dict[str, str]:
    return {
        "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://viz@localhost/viz",
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(tmp_path / "media"),
        "AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool"),
    }


def call(*words: str, answers: str = "", environ: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, words, input=answers, env=environ)


def flags(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def settings_of(folder: Path) -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(folder / ".env").items()}


def test_flags_alone_give_settings_and_a_catalog_that_the_commands_accept(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    shown = call("init", "sender", "--no-input", *flags(sender_values))
    assert shown.exit_code == 0, shown.output
    new = tmp_path / "new"
    assert sorted(path.name for path in new.iterdir()) == [".env", "catalog.toml"]
    assert {mode(path) for path in new.iterdir()} == {0o600}
    load_sender_settings(settings_of(new))
    checked = call("catalog", "check")
    note, last = checked.stdout.splitlines()
    assert (checked.exit_code, last) == (0, "The catalog can be used.")
    assert "in comments only" in note
    commands = shown.stdout.partition("Next:\n")[2].splitlines()
    assert [line.strip().partition(" |")[0] for line in commands] == [
        "ar-sync grants sender",
        "ar-sync check",
        "dagster job execute -m ar_sync_pipeline.sender -j complete_dump",
    ]
    assert call("grants", "sender").exit_code == 0


@pytest.mark.parametrize(
    ("side", "job"), [("sender", "complete_dump"), ("receiver", "complete_loaddata")]
)
@pytest.mark.parametrize("pair", ["", "santiago"])
def test_next_command_names_the_job_of_the_pair(
    sender_values: dict[str, str],
    receiver_values: dict[str, str],
    side: str,
    job: str,
    pair: str,
) -> None:
    values = sender_values if side == "sender" else receiver_values
    words = ("--no-input", "--catalog", "android_requests", "--json")
    shown = call("init", side, *words, *flags(values | {"AR_SYNC_PAIR": pair}))
    assert shown.exit_code == 0, shown.output
    *_, command = json.loads(shown.stdout)["next"]
    assert command.endswith(f" -m ar_sync_pipeline.{side} -j {PairNames(pair).name(job)}")


def test_questions_ask_for_what_is_missing_until_it_is_right_and_echo_no_secret(
    tmp_path: Path,
) -> None:
    spool, media = tmp_path / "spool", tmp_path / "media"
    url = "postgresql://viz:hunter2@localhost/viz"
    answers = f"postgresql://%zz\n{url}\n/nowhere\n{media}\n{spool}\n\n"
    shown = call("init", "receiver", "--json", answers=answers)
    assert shown.exit_code == 0, shown.output
    assert "hunter2" not in shown.output
    assert "does not exist: mount or make the folder" in shown.stderr
    result = json.loads(shown.stdout)
    assert (result["ok"], len(result["next"])) == (True, 3)
    values = settings_of(tmp_path / "new")
    assert load_receiver_settings(values).receiver_database_url.get_secret_value() == url
    assert "AR_SYNC_CATALOG" not in values


def test_receiver_of_another_application_takes_the_senders_catalog_and_no_transform(
    receiver_values: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "catalog.toml").write_text('name = "x"\ntables = ["*"]\n')
    words = ("init", "receiver", "--no-input", "--catalog", "../catalog.toml", "--folder", ".")
    shown = call(*words, environ=receiver_values)
    assert shown.exit_code == 0, shown.output
    written = settings_of(tmp_path / "new")
    assert Path(written["AR_SYNC_CATALOG"]).resolve() == tmp_path / "catalog.toml"
    assert written["AR_SYNC_TRANSFORM"] == "none"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_catalog_is_proposed_at_the_receiver(
    receiver_values: dict[str, str], tmp_path: Path, *, as_json: bool
) -> None:
    words = ("init", "receiver", "--no-input", "--catalog", "draft")
    shown = call(*words, *flags(receiver_values), *(["--json"] if as_json else []))
    assert shown.exit_code == 2, shown.exception
    assert "this is the receiver" in shown.stderr
    assert "copy the sender's catalog.toml" in shown.stderr
    assert list((tmp_path / "new").iterdir()) == []


def test_questions_at_the_receiver_offer_no_proposal(receiver_values: dict[str, str]) -> None:
    shown = call("init", "receiver", *flags(receiver_values), answers="\n")
    assert shown.exit_code == 0, shown.output
    assert "Catalog: the sender's file, or `android_requests`" in shown.stderr


@pytest.mark.parametrize("named", [True, False], ids=["named", "by default"])
def test_receiver_is_told_which_catalog_it_takes(
    receiver_values: dict[str, str], tmp_path: Path, *, named: bool
) -> None:
    (tmp_path / "catalog.toml").write_text('name = "x"\ntables = ["*"]\n')
    words = ["--catalog", "../catalog.toml"] if named else []
    shown = call("init", "receiver", "--no-input", *words, *flags(receiver_values))
    assert shown.exit_code == 0, shown.output
    expected = f"Catalog: {tmp_path}/" if named else "Catalog: android_requests (built in)"
    assert expected in shown.stdout
    assert named is ("--catalog" not in shown.stdout)


@pytest.mark.parametrize("existing", [".env", "catalog.toml"])
@pytest.mark.parametrize("link", [False, True])
def test_nothing_is_overwritten(
    sender_values: dict[str, str], tmp_path: Path, existing: str, link: bool
) -> None:
    kept = tmp_path / "new" / existing
    if link:
        kept.symlink_to(tmp_path / "made_through_the_link")
    else:
        kept.write_text("mine")
    shown = call("init", "sender", "--no-input", *flags(sender_values))
    assert shown.exit_code == 2
    assert "nothing is overwritten" in shown.stderr
    assert os.listdir(tmp_path / "new") == [existing]  # noqa: PTH208  links that lead nowhere too
    assert not (tmp_path / "made_through_the_link").exists()


def test_with_an_error_nothing_is_written_and_all_errors_are_said(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    wrong = sender_values | {"AR_SYNC_TIME": "5", "AR_SYNC_REMOTE_HOST": "", "AR_SYNC_TYME": "1"}
    shown = call("init", "sender", "--no-input", *flags(wrong))
    assert shown.exit_code == 1
    for expected in ("AR_SYNC_TIME=5", "AR_SYNC_REMOTE_HOST: is not set", "AR_SYNC_TYME"):
        assert expected in shown.stderr
    assert shown.stderr.endswith("\nCorrect --set or the environment, then try again.\n")
    assert list((tmp_path / "new").iterdir()) == []


def test_catalog_of_an_unknown_user_is_one_error_of_the_settings(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    shown = call(
        *("init", "sender", "--no-input", "--catalog", "~typo/c.toml", *flags(sender_values))
    )
    assert shown.exit_code == 1
    assert "AR_SYNC_CATALOG=~typo/c.toml: has an unknown user after ~" in shown.stderr
    assert list((tmp_path / "new").iterdir()) == []


def test_a_database_that_does_not_answer_leaves_no_files(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    away = sender_values | {"AR_SYNC_SENDER_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d"}
    shown = call("init", "sender", "--no-input", *flags(away))
    assert shown.exit_code == 2
    assert "cannot be reached" in shown.stderr
    assert "hunter2" not in shown.output
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("chosen", [True, False], ids=["a rule", "a rule that is a comment"])
def test_a_sender_with_pseudonyms_gets_a_secret_for_them(
    sender_values: dict[str, str], tmp_path: Path, *, chosen: bool
) -> None:
    rule = 'mask = { email = "pseudonym" }'
    (tmp_path / "catalog.toml").write_text(
        f'name = "x"\ntables = ["customer"]\n[table.customer]\n{"" if chosen else "# "}{rule}\n'
    )
    words = ("init", "sender", "--no-input", "--catalog", "../catalog.toml")
    shown = call(*words, *flags(sender_values))
    assert shown.exit_code == 0, shown.output
    key = settings_of(tmp_path / "new")["AR_SYNC_PSEUDONYM_KEY"]
    assert len(bytes.fromhex(key)) == 32
    assert key not in shown.output
    assert "AR_SYNC_PSEUDONYM_KEY is a new secret: keep a copy" in shown.stdout
    (tmp_path / "new" / ".env").unlink()
    given = sender_values | {"AR_SYNC_PSEUDONYM_KEY": "d41d8cd98f00b204e9800998ecf8427e-of-a-test"}
    assert call(*words, *flags(given)).exit_code == 0
    assert settings_of(tmp_path / "new")["AR_SYNC_PSEUDONYM_KEY"].endswith("-of-a-test")


def test_pseudonyms_of_the_loaded_catalog_count_whatever_their_quotes(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "catalog.toml").write_text(
        "name = 'x'\ntables = ['customer']\n[table.customer]\nmask = { email = 'pseudonym' }\n"
    )
    words = ("init", "sender", "--no-input", "--catalog", "../catalog.toml")
    assert call(*words, *flags(sender_values)).exit_code == 0
    assert settings_of(tmp_path / "new")["AR_SYNC_PSEUDONYM_KEY"]


@pytest.mark.parametrize("catalog", ["android_requests", "draft"])
def test_catalog_of_the_call_wins_over_that_of_the_environment(
    sender_values: dict[str, str], tmp_path: Path, catalog: str
) -> None:
    other = tmp_path / "other.toml"
    other.write_text('name = "x"\ntables = ["genre"]\n')
    words = ("init", "sender", "--no-input", "--catalog", catalog)
    shown = call(*words, *flags(sender_values), environ={"AR_SYNC_CATALOG": str(other)})
    assert shown.exit_code == 0, shown.output
    drafted = str(tmp_path / "new" / "catalog.toml") if catalog == "draft" else None
    assert settings_of(tmp_path / "new").get("AR_SYNC_CATALOG") == drafted


def test_if_the_second_file_cannot_be_written_the_first_is_removed(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "sender.env", tmp_path / "new" / "receiver.env"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_new_files({first: "x", second: "y" * 100_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("as_json", [True, False])
def test_input_that_ends_before_the_last_question_is_one_message(
    tmp_path: Path, *, as_json: bool
) -> None:
    shown = call("init", "receiver", *(["--json"] if as_json else []), answers="")
    assert shown.exit_code == 130
    assert "its input ended before all questions were answered" in shown.stderr
    assert "Aborted" not in shown.output
    assert not as_json or json.loads(shown.stdout)["code"] == "call-interrupted"
    assert list((tmp_path / "new").iterdir()) == []


def test_a_sender_without_pseudonyms_gets_no_secret(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "catalog.toml").write_text('name = "x"\ntables = ["genre"]\n')
    words = ("init", "sender", "--no-input", "--catalog", "../catalog.toml")
    assert call(*words, *flags(sender_values)).exit_code == 0
    assert "AR_SYNC_PSEUDONYM_KEY" not in settings_of(tmp_path / "new")


def test_next_commands_run_where_the_settings_are_and_in_the_database_of_the_url(
    sender_values: dict[str, str], tmp_path: Path
) -> None:
    words = ("--no-input", "--catalog", "android_requests", "--json")
    folder = tmp_path / "else where"
    folder.mkdir()
    far = {"AR_SYNC_SENDER_DATABASE_URL": "postgresql://me@db.example.org:5433/shop"}
    shown = call("init", "sender", *words, "--folder", str(folder), *flags(sender_values | far))
    first, *_ = json.loads(shown.stdout)["next"]
    assert first == (
        f"cd '{folder}' && ar-sync grants sender |"
        " psql -h db.example.org -p 5433 -U postgres -d shop"
    )
    for url, psql in (
        ("postgresql://me@localhost/shop", "sudo -u postgres psql -d shop"),
        (
            "postgresql:///shop?host=/run/pg&port=5434",
            "sudo -u postgres psql -h /run/pg -p 5434 -d shop",
        ),
        ("postgresql:///shop?hostaddr=10.1.2.3", "psql -h 10.1.2.3 -U postgres -d shop"),
        ("postgresql:///shop?hostaddr=127.0.0.1", "sudo -u postgres psql -d shop"),
        ("postgresql://me:pw@/?service=shop", "psql -d service=shop -U postgres"),
        ("service=shop dbname=viz", "psql -d 'service=shop dbname=viz' -U postgres"),
        ("host=@/run/pg dbname=viz", "sudo -u postgres psql -h @/run/pg -d viz"),
    ):
        (folder / ".env").unlink()
        here = {"AR_SYNC_SENDER_DATABASE_URL": url}
        shown = call(
            "init", "sender", *words, "--folder", str(folder), *flags(sender_values | here)
        )
        assert json.loads(shown.stdout)["next"][0].endswith(f"| {psql}")
