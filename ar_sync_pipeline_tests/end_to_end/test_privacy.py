"""Nothing that a column rule excludes leaves the sender: all stored data is searched for it.

The sender's database contains e-mail addresses, phone numbers, tokens, positions, names of photos
and photos. Then both sides run as usual, with one dump that is refused. Only the sender's media
and its catalog may contain these values.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline_tests.fix_alerts import Mailbox
from ar_sync_pipeline_tests.fix_dagster import Deployment, dagster_command
from ar_sync_pipeline_tests.fix_roles import RoleScript, superuser
from ar_sync_pipeline_tests.fix_sites import execute, rows

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

KEY = "d41d8cd98f00b204e9800998ecf8427e-of-a-test"
TABLES = """
CREATE TABLE app_user (id serial PRIMARY KEY, email varchar(254) NOT NULL UNIQUE, phone text,
  token varchar(64) NOT NULL DEFAULT '', device uuid, position numeric(10, 6), photo text,
  changed timestamptz NOT NULL DEFAULT clock_timestamp(), public text);
CREATE TABLE app_login (id serial PRIMARY KEY, user_id int NOT NULL REFERENCES app_user,
  email varchar(254) REFERENCES app_user (email), agent text);
"""
RULES = """
[table.app_user]
changed_at = "changed"
media_columns = ["photo"]
exclude = ["token", "photo"]
mask = { email = "pseudonym", phone = "null", device = "pseudonym", position = { round = 1 } }

[table.app_login]
mask = { email = "pseudonym", agent = { constant = "" } }
"""
PLANT = """
INSERT INTO app_user (email, phone, token, device, position, photo, public)
SELECT 'PLANTED-MAIL-' || n || '@example.org', '+56 9 PLANTED-' || n, 'PLANTED-TOKEN-' || n,
       'decade00-0000-4000-8000-000000000001', -33.437912, 'planted-photo-' || n || '.jpeg',
       'for everybody ' || n
  FROM generate_series({}) n
"""
LOGIN = """
INSERT INTO app_login (user_id, email, agent)
SELECT id, email, 'PLANTED-AGENT' FROM app_user WHERE id NOT IN (SELECT user_id FROM app_login)
"""
NEEDLES = (
    b"planted-", bytes.fromhex("decade0000004000"), b"decade00-0000", b"437912", KEY.encode(),
)  # fmt: skip


@pytest.fixture
def private(deployment: Deployment, role_script: RoleScript) -> Deployment:
    """Both servers with personal data at the sender, whose role cannot read excluded columns."""
    admin = deployment.sender_url
    execute(admin, TABLES, PLANT.format("1, 20"), LOGIN)
    execute(deployment.receiver_url, TABLES)
    catalog = deployment.folder / "catalog.toml"
    catalog.write_text(catalog.read_text() + RULES)
    for number in (3, 25):
        photo = deployment.folder / "sender_media" / f"planted-photo-{number}.jpeg"
        photo.write_bytes(b"PLANTED-PHOTO")
    deployment.sender_url = role_script(
        "sender",
        admin,
        tables="app_*",
        exclude_columns="app_user.token,public.app_user.photo",
    )
    deployment.sender_changes["AR_SYNC_PSEUDONYM_KEY"] = KEY
    return deployment


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file in a folder by name; archives also as their contents."""
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_relative_to(folder / "sender_media"):
            continue
        if path.name == "catalog.toml":
            continue
        yield str(path), path.name.encode() + path.read_bytes()
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    content = file.read() if file else b""
                    packed = member.name.endswith(".zst")
                    yield f"{path}:{member.name}", zstd.decompress(content) if packed else content


def database(url: str) -> Iterator[tuple[str, bytes]]:
    """Yield every row of a database."""
    tables = rows(
        url,
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information)'",
    )
    for (name,) in tables:
        found = rows(url, f"SELECT string_agg(t::text, ' ') FROM {name} AS t")
        yield str(name), str(found[0][0]).encode()


def statistics(url: str) -> bytes:
    """Return what the statistics of a database tell this role about values."""
    found = rows(url, "SELECT string_agg(s::text, ' ') FROM pg_stats s WHERE schemaname = 'public'")
    return str(found[0][0]).encode()


def definitions(private: Deployment) -> Iterator[tuple[str, bytes]]:
    """Yield what the code locations, and so the UI, say of their assets before anything runs."""
    for side in (private.sender_definitions(), private.receiver_definitions()):
        for spec in side.resolve_all_asset_specs():
            yield f"asset {spec.key.to_user_string()}", str(spec).encode()


def everything(private: Deployment) -> dict[str, bytes]:
    execute(private.receiver_url, "ANALYZE")
    return (
        dict(contents(private.folder))
        | dict(database(private.receiver_url))
        | dict(definitions(private))
        | {"statistics of the receiver": statistics(private.receiver_url)}
    )


def places_of(needle: bytes, found: dict[str, bytes]) -> list[str]:
    return [name for name, content in found.items() if needle.lower() in content.lower()]


@pytest.mark.long
def test_nothing_that_is_kept_back_is_anywhere_outside_the_sender(private: Deployment) -> None:
    admin = superuser(private.sender_url)
    private.succeed("complete_dump")
    private.succeed("complete_loaddata")
    execute(
        admin,
        PLANT.format("21, 30"),
        "UPDATE app_user SET email = 'PLANTED-MAIL-changed@example.org' WHERE id = 30",
        LOGIN,
    )
    private.succeed("partial_dump")
    private.succeed("partial_loaddata")
    execute(admin, "ALTER TABLE app_user ALTER phone SET NOT NULL")
    assert "phone of app_user is NOT NULL" in str(private.run("complete_dump").failures)
    execute(
        admin,
        "ALTER TABLE app_user ALTER phone DROP NOT NULL",
        "UPDATE app_user SET position = -99.437912 WHERE id = 5",
    )
    private.succeed("complete_dump")
    private.succeed("complete_loaddata")
    inspected = CliRunner().invoke(main, ["check", "--json"], env=private.sender_environment())
    found = everything(private) | {"ar-sync check": inspected.output.encode()}
    for needle in NEEDLES:
        assert places_of(needle, found) == []
    # The search does find sent values: in archives, at the receiver and in Dagster's storage.
    assert len(places_of(b"for everybody 7", found)) >= 3
    assert places_of(b"complete_dump", found)
    assert rows(private.receiver_url, "SELECT count(*) FROM app_user") == [(30,)]
    joined = "SELECT count(*) FROM app_user u JOIN app_login l USING (email) WHERE u.id = user_id"
    assert rows(private.receiver_url, joined) == [(30,)]
    assert [path.name for path in (private.folder / "receiver_media").iterdir()] == ["bus.jpeg"]
    execute(admin, "ANALYZE")
    assert b"planted-mail" in statistics(private.sender_url).lower(), "masked, so its role reads it"
    for excluded in (b"planted-token", b"planted-photo"):
        assert excluded in statistics(admin).lower()
        assert excluded not in statistics(private.sender_url).lower()


@pytest.mark.long
def test_the_search_finds_all_of_it_without_the_rules(private: Deployment) -> None:
    catalog = private.folder / "catalog.toml"
    catalog.write_text(catalog.read_text().partition("[table.app_user]")[0])
    private.sender_url = superuser(private.sender_url)
    private.succeed("complete_dump")
    private.succeed("complete_loaddata")
    found = everything(private)
    assert all(places_of(needle, found) for needle in NEEDLES[:-1])
    assert "statistics of the receiver" in places_of(b"planted-token", found)


def test_catalog_with_pseudonyms_and_no_secret_is_named_by_run_and_check(
    private: Deployment,
) -> None:
    del private.sender_changes["AR_SYNC_PSEUDONYM_KEY"]
    failures = str(private.run("complete_dump").failures)
    assert "AR_SYNC_PSEUDONYM_KEY is not set" in failures
    shown = CliRunner().invoke(main, ["check", "--json"], env=private.sender_environment())
    assert "AR_SYNC_PSEUDONYM_KEY is not set" in json.dumps(json.loads(shown.stdout))


@pytest.mark.long
@pytest.mark.parametrize("loaded", [False, True], ids=["first load", "later load"])
def test_errors_of_the_receiver_s_database_and_their_mails_hold_no_value(
    private: Deployment, mailbox: Mailbox, *, loaded: bool
) -> None:
    """PostgreSQL puts whole rows and keys into the details of such errors."""
    admin = superuser(private.sender_url)
    mail = mailbox.environ
    private.sender_changes |= mail
    private.receiver_changes |= mail
    refuse = (
        "ALTER TABLE app_user ALTER token SET DEFAULT 'PLANTED-TOKEN-of-the-receiver'",
        "ALTER TABLE app_user ALTER photo SET DEFAULT 'planted-photo-own.jpeg'",
        "ALTER TABLE app_user ADD CONSTRAINT once UNIQUE (token, photo) DEFERRABLE",
    )
    if loaded:
        private.succeed("complete_dump")
        private.succeed("complete_loaddata")
    execute(private.receiver_url, *refuse)
    execute(admin, PLANT.format("31, 40"), LOGIN)
    private.succeed("complete_dump")
    printed = in_a_process(private, "complete_loaddata")
    assert "once" in printed
    execute(admin, "ALTER TABLE app_user ALTER phone SET NOT NULL")
    assert not private.run("complete_dump").succeeded
    subjects = " ".join(mailbox.subjects)
    assert "receiver" in subjects
    assert "sender" in subjects
    assert "once" in texts(mailbox)
    status = CliRunner().invoke(main, ["status"], env=private.receiver_environment()).output
    found = dict(contents(private.folder)) | {
        "printed": printed.encode(),
        "mails": b" ".join(mailbox.raw) + texts(mailbox).encode(),
        "ar-sync status": status.encode(),
    }
    for needle in NEEDLES:
        assert places_of(needle, found) == []
    # The captured output of the runs' processes is searched as well.
    assert any("compute_logs" in place for place in places_of(b"complete_loaddata", found))


def texts(mailbox: Mailbox) -> str:
    """Return the decoded texts of all mails."""
    parts = (part for mail in mailbox.mails for part in mail.walk() if not part.is_multipart())
    return " ".join(str(part.get_content()) for part in parts)


def in_a_process(private: Deployment, job: str) -> str:
    """Run a receiver's job in a process whose output Dagster captures; return what it prints."""
    words = ("job", "execute", "-m", "ar_sync_pipeline.receiver", "-j", job)
    environment = private.receiver_environment()
    done = dagster_command("dagster", *words, environment=environment, home=private.home)
    return done.stdout + done.stderr
