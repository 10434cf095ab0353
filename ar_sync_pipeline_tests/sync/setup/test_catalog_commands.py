"""``ar-sync catalog``, called in an empty folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.postgres.connect import Connection, database_label
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.sync.setup.schemas import CHINOOK


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(main, words, env=environ)


def test_draft_needs_one_variable_and_its_file_passes_the_check(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, CHINOOK)
    drafted = call("catalog", "draft", AR_SYNC_SENDER_DATABASE_URL=sender)
    assert (drafted.exit_code, drafted.stderr) == (0, "")
    file = tmp_path / "catalog.toml"
    file.write_text(drafted.stdout)
    assert len(load_catalog(file).tables) == 11
    both = {"AR_SYNC_SENDER_DATABASE_URL": sender, "AR_SYNC_RECEIVER_DATABASE_URL": receiver}
    checked = call("catalog", "check", str(file), **both)
    note, *rest = checked.stdout.splitlines()
    assert (checked.exit_code, rest) == (0, ["The catalog can be used."])
    # The draft decides nothing, and a check that says nothing would read as approval.
    assert note == (
        "note (both): 28 columns that look personal are in comments only, and sent as they are:"
        " choose a rule for each, or delete its comment."
    )
    assert call("catalog", "check", AR_SYNC_CATALOG=str(file), **both).exit_code == 0


def test_check_warns_of_rows_that_the_first_complete_would_replace(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(
            url,
            "CREATE TABLE auth_user (id int PRIMARY KEY, name text)",
            "CREATE TABLE shop_order (id int PRIMARY KEY)",
            "CREATE TABLE note (id int PRIMARY KEY)",
        )
    execute(receiver, "INSERT INTO auth_user VALUES (1, 'vizadmin')", "INSERT INTO note VALUES (1)")
    file = tmp_path / "catalog.toml"
    file.write_text('name = "shop"\ntables = ["auth_user", "shop_*"]\n')
    both = {"AR_SYNC_SENDER_DATABASE_URL": sender, "AR_SYNC_RECEIVER_DATABASE_URL": receiver}
    checked = call("catalog", "check", str(file), **both)
    warned = [line for line in checked.stdout.splitlines() if "no archive was applied yet" in line]
    assert checked.exit_code == 0
    assert len(warned) == 1
    assert "warning (receiver): " in warned[0]
    assert "has rows in auth_user: the first complete makes" in warned[0]
    execute(
        receiver,
        "CREATE SCHEMA ar_sync",
        "CREATE TABLE ar_sync.applied_archive AS SELECT 1 AS archive",
    )
    assert "no archive was applied" not in call("catalog", "check", str(file), **both).stdout


def test_draft_as_json(database_factory: DatabaseFactory) -> None:
    sender = database_factory()
    execute(sender, CHINOOK, "CREATE TABLE alembic_version (v text PRIMARY KEY)")
    shown = call(
        "catalog", "draft", "--json", "--name", "music", AR_SYNC_SENDER_DATABASE_URL=sender
    )
    result = json.loads(shown.stdout)
    assert (result["ok"], result["name"], result["tables"]) == (True, "music", 11)
    assert list(result["excluded"]) == ["alembic_version"]
    assert 'name = "music"' in result["toml"]


def test_name_that_the_loader_would_refuse_is_an_invalid_call() -> None:
    shown = call("catalog", "draft", "--name", "x" * 64)
    assert shown.exit_code == 2
    assert "cannot be the name of a catalog: string should have at most 63" in shown.stderr


def test_without_a_database_each_command_says_which_variable_is_missing() -> None:
    drafted = call("catalog", "draft")
    assert drafted.exit_code == 2
    assert "AR_SYNC_SENDER_DATABASE_URL is not set" in drafted.stderr
    checked = call("catalog", "check", "--json")
    assert checked.exit_code == 2
    assert "neither" in json.loads(checked.stdout)["problem"]


def test_password_in_a_url_that_libpq_refuses_is_not_shown() -> None:
    shown = call("catalog", "draft", AR_SYNC_SENDER_DATABASE_URL="postgresql://u:h%unter2@x/y")
    assert shown.exit_code == 2
    assert "unter2" not in shown.output


def test_check_names_every_error_of_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('name = "x"\ntables = ["a"]\nexlude = []\n[table.b]\n')
    shown = call("catalog", "check", "wrong.toml", AR_SYNC_SENDER_DATABASE_URL="postgresql://u@h/d")
    assert shown.exit_code == 1
    assert "did you mean exclude?" in shown.stderr
    assert "[table.b]: matches no pattern" in shown.stderr


def test_check_says_what_would_park_archives(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TYPE mood AS ENUM ('fine')", CHINOOK)
    execute(
        sender,
        "ALTER TYPE mood ADD VALUE 'bad'",
        'ALTER TABLE "Track" ADD mood mood',
        'ALTER TABLE "Genre" ADD v int',
        'ALTER TABLE "Album" ADD v int GENERATED ALWAYS AS (1) STORED',
    )
    execute(
        receiver,
        'ALTER TABLE "Track" ADD mood mood',
        'ALTER TABLE "Artist" ALTER "Name" TYPE text',
        'ALTER TABLE "Album" ADD own int NOT NULL, ADD v int',
        'DROP TABLE "Playlist" CASCADE',
    )
    file = tmp_path / "catalog.toml"
    file.write_text('name = "x"\ntables = ["*"]\nexclude = ["Nothing"]\n[table.Gone]\n')
    shown = call(
        "catalog", "check", "catalog.toml",
        AR_SYNC_SENDER_DATABASE_URL=sender, AR_SYNC_RECEIVER_DATABASE_URL=receiver,
    )  # fmt: skip
    assert shown.exit_code == 1
    for expected in (
        "error (both): the receiver's enum public.mood lacks the label bad",
        "error (both): Artist.Name is character varying(120) at the sender and text",
        "error (both): the receiver lacks column Genre.v",
        "error (both): Album.v is computed at the sender and stored at the receiver",
        "error (both): the receiver's column Album.own needs a value",
        "error (both): the receiver has no table Playlist",
        "warning (sender): `Nothing` of `exclude` matches nothing",
        "warning (sender): table Gone has rules",
        "warning (receiver): table Gone is not in",
        "The catalog cannot be used.",
    ):
        assert expected in shown.stdout


@pytest.mark.parametrize("tables", ['["t", "gone"]', '["*"]'], ids=["named", "by a wildcard"])
def test_check_says_that_a_table_and_a_migration_of_the_sender_park_archives(
    database_factory: DatabaseFactory, tmp_path: Path, tables: str
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(
            url,
            "CREATE TABLE t (id int PRIMARY KEY)",
            "CREATE TABLE django_migrations (app text, name text)",
            "INSERT INTO django_migrations VALUES ('shop', '0001'), ('other', '0009')",
        )
    execute(
        sender,
        "CREATE TABLE gone (id int PRIMARY KEY)",
        "INSERT INTO django_migrations VALUES ('shop', '0002')",
    )
    (tmp_path / "c.toml").write_text(
        f'name = "x"\ntables = {tables}\nexclude = ["django_migrations"]\ndjango_app = "shop"\n'
    )
    both = {"AR_SYNC_SENDER_DATABASE_URL": sender, "AR_SYNC_RECEIVER_DATABASE_URL": receiver}
    shown = call("catalog", "check", "c.toml", **both)
    assert shown.exit_code == 1
    assert [line.partition(", so that archives are parked")[0] for line in
            shown.stdout.splitlines() if "gone" in line or "0002" in line] == [
        "error (both): the sender has migration 0002, the receiver has not",
        "error (both): the receiver has no table gone",
    ]  # fmt: skip


def test_check_of_a_database_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text('name = "x"\ntables = ["*"]\n')
    both = dict.fromkeys(
        ("AR_SYNC_SENDER_DATABASE_URL", "AR_SYNC_RECEIVER_DATABASE_URL"),
        "postgresql://u@127.0.0.1:1/d",
    )
    shown = call("catalog", "check", "catalog.toml", **both)
    assert shown.exit_code == 1
    assert shown.stdout.count("cannot be reached") == 2


@pytest.fixture
def application_role(database_factory: DatabaseFactory) -> Iterator[tuple[str, str]]:
    """Yield a database after the installation, and its URL for the application's own role."""
    url = database_factory()
    role = f"application of {url.rpartition('/')[2]}"
    execute(
        url,
        f'CREATE ROLE "{role}" LOGIN',
        f'CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t OWNER TO "{role}"',
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.t (id int PRIMARY KEY, v text)",
        "CREATE TABLE django_migrations (app text, name text)",
        "CREATE SCHEMA ar_sync",
        "CREATE TABLE ar_sync.applied_archive (archive_id uuid PRIMARY KEY)",
        "CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER act AFTER INSERT ON t EXECUTE FUNCTION act()",
    )
    yield url, make_conninfo(url, user=role)
    execute(url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@pytest.mark.parametrize("sides", [["SENDER"], ["RECEIVER"], ["SENDER", "RECEIVER"]])
def test_check_compares_tables_and_not_the_rights_of_the_role_in_the_url(
    application_role: tuple[str, str], tmp_path: Path, sides: list[str]
) -> None:
    _, url = application_role
    (tmp_path / "c.toml").write_text(
        'name = "x"\ntables = ["t", "hidden", "closed.t"]\ndjango_app = "x"\n[table.t]\n'
        'exclude = ["v"]\n[table."closed.t"]\nmask = { v = "null" }\n'
    )
    given = {f"AR_SYNC_{side}_DATABASE_URL": url for side in sides}
    shown = call("catalog", "check", "c.toml", **given)
    assert (shown.stdout, shown.exit_code) == ("The catalog can be used.\n", 0)


def test_check_still_says_that_a_role_may_not_even_connect(
    application_role: tuple[str, str], tmp_path: Path
) -> None:
    owner, url = application_role
    execute(owner, f"REVOKE CONNECT ON DATABASE {owner.rpartition('/')[2]} FROM public")
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["t"]\n')
    shown = call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=url)
    assert shown.exit_code == 1
    assert "permission denied for database" in shown.stdout


def test_check_compares_both_databases_whatever_the_roles_may_read(
    application_role: tuple[str, str], database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    _, sender = application_role
    receiver = database_factory()
    execute(
        receiver,
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.t (id bigint PRIMARY KEY, v text)",
    )
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["closed.t"]\n')
    both = {"AR_SYNC_SENDER_DATABASE_URL": sender, "AR_SYNC_RECEIVER_DATABASE_URL": receiver}
    shown = call("catalog", "check", "c.toml", **both)
    assert shown.exit_code == 1
    assert "closed.t.id is integer at the sender and bigint at the receiver" in shown.stdout


def test_check_of_values_of_masks_needs_no_right_to_read(
    application_role: tuple[str, str], tmp_path: Path
) -> None:
    _, url = application_role
    (tmp_path / "c.toml").write_text(
        'name = "x"\ntables = ["t", "closed.t"]\n[table.t]\nmask = { v = { constant = "x" } }\n'
        '[table."closed.t"]\nmask = { v = "null" }\n'
    )
    assert call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=url).exit_code == 0
    execute(url, "ALTER TABLE t ADD n integer")
    (tmp_path / "c.toml").write_text(
        'name = "x"\ntables = ["t", "closed.t"]\n[table.t]\nmask = { n = { constant = "" } }\n'
    )
    shown = call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=url)
    assert shown.exit_code == 1
    assert "`mask` of table t gives n, a integer, the value ''" in shown.stdout


@pytest.mark.parametrize("both", [True, False])
def test_failure_of_a_later_part_of_the_check_is_said(
    database_factory: DatabaseFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    both: bool,
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE t (id int PRIMARY KEY, v text)")
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["t"]\n')
    given = {"AR_SYNC_SENDER_DATABASE_URL": sender}
    given |= {"AR_SYNC_RECEIVER_DATABASE_URL": receiver} if both else {}

    def take_too_long(connection: Connection) -> None:
        connection.execute("SET statement_timeout = 10")
        connection.execute("SELECT pg_sleep(5)")

    monkeypatch.setattr("ar_sync_pipeline.sync.setup.check_catalog.limit_waits", take_too_long)
    shown = call("catalog", "check", "c.toml", **given)
    assert shown.exit_code == 1
    sides = {"sender": sender} | ({"receiver": receiver} if both else {})
    assert [line.partition(" (canceling")[0] for line in shown.stdout.splitlines()[:-1]] == [
        f"error ({side}): the database {database_label(url)} gave up a statement"
        for side, url in sides.items()
    ]


@pytest.mark.parametrize("both", [True, False])
def test_excluded_column_that_needs_a_value_at_the_receiver_is_found(
    database_factory: DatabaseFactory, tmp_path: Path, both: bool
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE t (id int PRIMARY KEY, message text NOT NULL)")
    (tmp_path / "c.toml").write_text(
        'name = "x"\ntables = ["t"]\n[table.t]\nexclude = ["message"]\n'
    )
    given = {"AR_SYNC_SENDER_DATABASE_URL": sender}
    given |= {"AR_SYNC_RECEIVER_DATABASE_URL": receiver} if both else {}
    shown = call("catalog", "check", "c.toml", **given)
    assert shown.exit_code == int(both)
    assert (
        f"{'error (receiver)' if both else 'warning (sender)'}: column message of " in shown.stdout
    )
    execute(receiver, "ALTER TABLE t ALTER message SET DEFAULT ''")
    assert call("catalog", "check", "c.toml", **given).exit_code == 0


def test_each_remedy_for_a_table_to_leave_out_names_all_places(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender = database_factory()
    execute(
        sender,
        "CREATE TABLE auth_user (id int PRIMARY KEY)",
        "CREATE TABLE visit (id int PRIMARY KEY, user_id int NOT NULL REFERENCES auth_user)",
        "CREATE TABLE note (id int PRIMARY KEY, user_id int REFERENCES auth_user)",
    )
    file = tmp_path / "c.toml"
    file.write_text(
        'name = "x"\ntables = ["visit", "note*"]\nexclude = ["auth_user"]\n[table.visit]\n'
        '[table.note]\nchildren = ["visit"]\n'
    )
    shown = call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=sender).stdout
    assert (
        'remove "auth_user" from `exclude` and add "auth_user" to `tables` of the catalog, or'
        ' remove "visit" from `tables` and remove the section [table.visit] and remove "visit"'
        " from [table.note] children." in shown
    )
    assert 'or give user_id the mask "null", or add "note" to `exclude` and remove the' in shown
    file.write_text(
        'name = "x"\ntables = ["note*"]\nexclude = ["auth_user"]\n[table.note]\n'
        'mask = { user_id = "null" }\n'
    )
    shown = call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=sender).stdout
    assert shown == "The catalog can be used.\n"


def test_view_that_the_file_names_is_to_be_removed_from_its_places(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender = database_factory()
    execute(
        sender,
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE VIEW seen AS SELECT * FROM t",
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (1) TO (9)",
    )
    (tmp_path / "c.toml").write_text(
        'name = "x"\ntables = ["t", "seen", "p_1"]\n[table.seen]\n[table.p_1]\n'
    )
    shown = call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=sender)
    assert 'and remove "seen" from `tables` and remove the section [table.seen].' in shown.stdout
    assert 'replace it by p in `tables`, or remove "p_1" from `tables` and' in shown.stdout
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["t", "p"]\n')
    shown = call("catalog", "check", "c.toml", AR_SYNC_SENDER_DATABASE_URL=sender)
    assert shown.stdout == "The catalog can be used.\n"


def test_check_names_personal_columns_that_came_after_the_rules(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender = database_factory()
    execute(sender, "CREATE TABLE page (id int PRIMARY KEY, email text, contact_email text)")
    file = tmp_path / "catalog.toml"
    file.write_text('name = "site"\ntables = ["page"]\n')
    checked = call("catalog", "check", str(file), AR_SYNC_SENDER_DATABASE_URL=sender)
    assert "look personal" not in checked.stdout, "without any rule nothing is kept back on purpose"
    file.write_text(file.read_text() + '[table.page]\nexclude = ["email"]\n')
    checked = call("catalog", "check", str(file), AR_SYNC_SENDER_DATABASE_URL=sender)
    assert checked.exit_code == 0
    assert "look personal and have no rule: contact_email of page" in checked.stdout


def test_comments_that_were_decided_or_deleted_are_not_counted(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender = database_factory()
    file = tmp_path / "catalog.toml"

    def notes(section: str) -> list[str]:
        file.write_text(f'name = "x"\ntables = ["page"]\n[table.page] # a page\n{section}')
        return [line for line in check(file, sender) if "in comments only" in line]

    execute(sender, "CREATE TABLE page (id int PRIMARY KEY, email text, phone text NOT NULL)")
    both = '# exclude = ["email"]\n# mask = { phone = { constant = "" } }\n'
    assert notes(both)[0].startswith("note (both): 2 columns that look personal are in")
    decided = 'exclude = ["email"]\n'
    assert notes(decided + both)[0].startswith("note (both): 1 column that looks personal is in")
    assert notes(decided) == []
    assert notes('# exclude = [\n# "email"]\n# exclude what is not needed\n# exclude = 3\n') == []


def check(file: Path, sender: str) -> list[str]:
    shown = call("catalog", "check", str(file), AR_SYNC_SENDER_DATABASE_URL=sender)
    assert shown.exit_code == 0
    return shown.stdout.splitlines()


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("filled", "its type public.filled takes no NULL"),
        ("text UNIQUE NULLS NOT DISTINCT", "rows without its value may be equal"),
        ("text UNIQUE DEFAULT 'x'", "new rows get its default"),
        ("timestamptz UNIQUE DEFAULT now()", "new rows get its default"),
        ("uuid UNIQUE DEFAULT gen_random_uuid()", ""),
        ("text UNIQUE", ""),
    ],
)
@pytest.mark.parametrize("both", [True, False])
def test_excluded_column_without_whose_value_rows_are_refused_is_found_at_either_side(
    database_factory: DatabaseFactory, tmp_path: Path, both: bool, column: str, found: str
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE DOMAIN filled AS text NOT NULL")
        execute(url, f"CREATE TABLE t (id int PRIMARY KEY, message {column})")
    (tmp_path / "c.toml").write_text(
        'name = "x"\ntables = ["t"]\n[table.t]\nexclude = ["message"]\n'
    )
    given = {"AR_SYNC_SENDER_DATABASE_URL": sender}
    given |= {"AR_SYNC_RECEIVER_DATABASE_URL": receiver} if both else {}
    shown = call("catalog", "check", "c.toml", **given).stdout
    assert found in shown
    assert ("exclude" in shown) == bool(found)


def test_rows_that_this_role_may_not_read_before_the_first_load_are_said(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(
            url,
            "CREATE TABLE t (id int PRIMARY KEY)",
            "CREATE TABLE empty (id int PRIMARY KEY, note text)",
            "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id)",
            "CREATE TABLE part PARTITION OF parted DEFAULT",
        )
    execute(receiver, "INSERT INTO t VALUES (1)", "INSERT INTO parted VALUES (1)")
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["t", "empty", "parted"]\n')
    # A role that exists everywhere and may read nothing of the application.
    url = make_conninfo(receiver, options="-c role=pg_signal_backend")
    given = {"AR_SYNC_SENDER_DATABASE_URL": sender, "AR_SYNC_RECEIVER_DATABASE_URL": url}
    shown = call("catalog", "check", "c.toml", **given)
    assert "no archive was applied yet, and this role may not read parted, t:" in shown.stdout
