"""``ar-sync compare`` counts and names differences, and ignores what does not count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.postgres.connect import database_label
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window

CATALOG = """
name = "small"
tables = ["app_*"]
receiver_tables = ["app_note"]
[table.app_parent]
receiver_columns = ["seen", "transformed"]
rewritten_by_transform = ["label"]
[table.app_child]
changed_at = "changed"
"""


def compare(sites: TwoSites, *words: str, text: str = CATALOG) -> Result:
    file = sites.folder / "catalog.toml"
    file.write_text(text)
    return CliRunner().invoke(
        main,
        ["compare", "--catalog", str(file), *words],
        env={
            "AR_SYNC_SENDER_DATABASE_URL": sites.sender,
            "AR_SYNC_RECEIVER_DATABASE_URL": sites.receiver,
            "AR_SYNC_REMOTE_BKP_FLDR": str(sites.spool),
        },
    )


def tables(result: Result) -> dict[str, dict[str, object]]:
    return {table["table"]: table for table in json.loads(result.stdout)["tables"]}


def applied(sites: TwoSites, kind: str) -> Path:
    (path,) = (sites.spool / kind).glob("backup_*.tar")
    return path


@pytest.fixture
def loaded(filled: TwoSites) -> TwoSites:
    """Load the sender's complete; then people and the transform change the receiver."""
    filled.complete()
    filled.load()
    filled.at_receiver(
        "UPDATE app_parent SET seen = true",
        "INSERT INTO app_note (parent_id, text) VALUES (1, 'mine')",
    )
    return filled


def test_equal_servers_are_equal_whatever_the_receiver_has_of_its_own(loaded: TwoSites) -> None:
    shown = compare(loaded)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[-1] == "All 2 tables are equal."
    assert compare(loaded, str(applied(loaded, "complete"))).exit_code == 0


def test_what_the_transform_rewrites_is_compared_as_it_was_sent(loaded: TwoSites) -> None:
    loaded.at_receiver("UPDATE app_parent SET label = upper(label)")
    for archive in ([], [str(applied(loaded, "complete"))]):
        shown = compare(loaded, *archive)
        assert shown.exit_code == 0
        assert shown.stdout.count("not compared, transformed in place: label") == 1
        stored = {
            name: one["stored"] for name, one in tables(compare(loaded, "--json", *archive)).items()
        }
        assert stored == {"app_parent": ["label"], "app_child": []}
    loaded.at_sender("UPDATE app_parent SET label = 'new' WHERE id = 3")
    parent = tables(compare(loaded, "--json"))["app_parent"]
    assert parent["keys"] == {"missing": [], "more": [], "different": ["3"]}


@pytest.mark.parametrize("with_archive", [False, True])
def test_missing_more_and_different_rows_are_counted_and_ten_keys_named(
    loaded: TwoSites, with_archive: bool
) -> None:
    loaded.at_receiver(
        "DELETE FROM app_child WHERE id <= 12",
        "UPDATE app_child SET amount = -0.0 WHERE id BETWEEN 20 AND 21",
        "INSERT INTO app_child (id, parent_id) VALUES (9001, 1)",
    )
    archive = [str(applied(loaded, "complete"))] if with_archive else []
    shown = compare(loaded, "--json", *archive)
    assert shown.exit_code == 1
    child = tables(shown)["app_child"]
    assert child["rows"] == {"equal": 1986, "missing": 12, "more": 1, "different": 2}
    keys = child["keys"]
    assert isinstance(keys, dict)
    assert len(keys["missing"]) == 10
    assert (keys["more"], keys["different"]) == (["9001"], ["20", "21"])
    assert tables(shown)["app_parent"]["equal"]
    text = compare(loaded, *archive)
    assert "different: 20, 21" in text.stdout
    assert "1 of 2 tables differ." in text.stdout


def test_table_that_was_left_out_since_is_told_as_that(loaded: TwoSites) -> None:
    text = 'name = "small"\ntables = ["app_parent"]\nexclude = ["app_child"]\n'
    archive = str(applied(loaded, "complete"))
    shown = tables(compare(loaded, "--json", archive, text=text))
    assert shown["app_child"]["problem"] == "this catalog does not name the table"


def test_of_a_partial_only_its_own_rows_count(loaded: TwoSites) -> None:
    loaded.at_sender("UPDATE app_child SET amount = 7, changed = now() WHERE id < 4")
    partial = loaded.partial(recent_window())
    assert compare(loaded, str(partial)).exit_code == 1
    loaded.load()
    loaded.at_receiver("INSERT INTO app_child (id, parent_id) VALUES (9001, 1)")
    assert compare(loaded, str(applied(loaded, "partial"))).exit_code == 0
    loaded.at_receiver("UPDATE app_child SET amount = 8 WHERE id = 2")
    child = tables(compare(loaded, "--json", str(applied(loaded, "partial"))))["app_child"]
    assert child["keys"] == {"missing": [], "more": [], "different": ["2"]}


@pytest.mark.long
def test_columns_and_tables_that_are_not_there_are_differences_unless_they_were_ignored(
    loaded: TwoSites,
) -> None:
    loaded.at_sender("ALTER TABLE app_child ADD note text", "CREATE TABLE app_new (id int)")
    loaded.at_receiver("CREATE TABLE app_old (id int)")
    shown = tables(compare(loaded, "--json"))
    assert shown["app_child"]["columns"] == ["note"]
    assert shown["app_new"]["problem"] == "the second has no such table"
    assert shown["app_old"]["problem"] == "only the second has this table"
    loaded.at_sender("DROP TABLE app_new")
    loaded.at_receiver("DROP TABLE app_old")
    assert compare(loaded).exit_code == 1
    assert compare(loaded, "--common-columns").exit_code == 0


@pytest.mark.parametrize("with_archive", [False, True])
def test_of_common_columns_those_of_another_type_are_still_a_difference(
    loaded: TwoSites, with_archive: bool
) -> None:
    loaded.at_receiver(
        "ALTER TABLE app_child DROP changed",
        "ALTER TABLE app_child ALTER amount TYPE numeric(9, 3)",
        "ALTER TABLE app_parent DROP code",
        "ALTER TABLE app_parent ADD code text GENERATED ALWAYS AS ('c' || id) STORED",
    )
    archive = [str(applied(loaded, "complete"))] if with_archive else []
    shown = compare(loaded, "--common-columns", "--json", *archive)
    assert shown.exit_code == 1
    found = tables(shown)
    assert found["app_child"]["columns"] == ["amount"]
    assert found["app_parent"]["columns"] == ["code"]
    loaded.at_receiver("ALTER TABLE app_parent DROP code", "ALTER TABLE app_child DROP amount")
    assert compare(loaded, "--common-columns", *archive).exit_code == 0
    assert compare(loaded, *archive).exit_code == 1


@pytest.mark.parametrize("with_archive", [False, True])
def test_column_that_only_the_first_computes_is_a_difference(
    loaded: TwoSites, with_archive: bool
) -> None:
    computed = "ALTER TABLE app_child DROP amount, ADD amount int GENERATED ALWAYS AS (id) STORED"
    loaded.at_sender(computed)
    archive = [str(loaded.complete())] if with_archive else []
    shown = compare(loaded, "--common-columns", "--json", *archive)
    assert shown.exit_code == 1
    assert tables(shown)["app_child"]["columns"] == ["amount"]
    loaded.at_receiver(computed)
    assert compare(loaded, *archive).exit_code == 0


@pytest.mark.parametrize("with_archive", [False, True])
def test_key_of_another_type_is_told_as_that(loaded: TwoSites, with_archive: bool) -> None:
    loaded.at_receiver("ALTER TABLE app_child ALTER id TYPE bigint")
    archive = [str(applied(loaded, "complete"))] if with_archive else []
    child = tables(compare(loaded, "--json", *archive))["app_child"]
    assert child["columns"] == ["id"]
    assert "has them with another type" in str(child["problem"])


def test_nothing_that_was_compared_is_not_equal(loaded: TwoSites) -> None:
    other = 'name = "other"\ntables = ["shop_*"]\n'
    shown = compare(loaded, "--json", text=other)
    assert shown.exit_code == 2
    assert json.loads(shown.stdout)["problem"].startswith(
        "neither database has a table that matches shop_* in schema public"
    )
    for url in (loaded.sender, loaded.receiver):
        execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    assert compare(loaded).exit_code == 2


def test_error_of_a_database_names_that_database(database_factory: DatabaseFactory) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, 'CREATE TABLE "AndroidRequests_x" (id int PRIMARY KEY)')
    role = f"reader_{sender.rpartition('/')[2]}"
    execute(sender, f'CREATE ROLE "{role}" LOGIN')
    try:
        shown = CliRunner().invoke(
            main,
            ["compare"],
            env={
                "AR_SYNC_SENDER_DATABASE_URL": make_conninfo(sender, user=role),
                "AR_SYNC_RECEIVER_DATABASE_URL": receiver,
            },
        )
    finally:
        execute(sender, f'DROP ROLE "{role}"')
    assert shown.exit_code == 2
    assert f"{database_label(sender)} refused a statement" in shown.stderr


def test_rows_without_a_key_and_with_keys_of_any_text(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sites = TwoSites(database_factory(), database_factory(), None, tmp_path)  # type: ignore[arg-type]
    for url in (sites.sender, sites.receiver):
        execute(
            url,
            "CREATE TABLE app_k (a text, b int, v jsonb, PRIMARY KEY (a, b))",
            "CREATE TABLE app_n (v text)",
            "INSERT INTO app_k SELECT k, n, '{}' FROM unnest(ARRAY['', 'a,b', E'\\t', E'l\\nx',"
            " 'é', 'z', '🚌', '\"', E'\\\\N']) k, generate_series(1, 3) n",
            "INSERT INTO app_n VALUES ('x'), ('x'), (NULL)",
        )
    assert compare(sites).exit_code == 0
    execute(sites.receiver, "INSERT INTO app_n VALUES ('x')", "DELETE FROM app_k WHERE a = '🚌'")
    shown = tables(compare(sites, "--json"))
    assert shown["app_n"]["rows"] == {"equal": 3, "missing": 0, "more": 1, "different": 0}
    assert shown["app_k"]["keys"] == {
        "missing": ["🚌,1", "🚌,2", "🚌,3"], "more": [], "different": [],
    }  # fmt: skip


def test_nothing_is_left_behind_and_a_damaged_archive_is_said(loaded: TwoSites) -> None:
    archive = applied(loaded, "complete")
    content = bytearray(archive.read_bytes())
    content[-2000] ^= 1
    archive.write_bytes(content)
    shown = compare(loaded, str(archive))
    assert shown.exit_code == 1
    assert "Traceback" not in shown.output
    assert compare(loaded).exit_code == 0


def test_name_of_an_archive_in_the_spool_is_enough(loaded: TwoSites) -> None:
    assert compare(loaded, applied(loaded, "complete").name).exit_code == 0


def test_missing_database_or_file_is_an_error_in_the_call(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["compare"])
    assert shown.exit_code == 2
    assert "AR_SYNC_RECEIVER_DATABASE_URL is not set" in shown.stderr
    away = {"AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    shown = CliRunner().invoke(main, ["compare", str(tmp_path / "no.tar")], env=away)
    assert shown.exit_code == 2


def test_database_that_fails_while_rows_are_read_is_an_error_at_once(filled: TwoSites) -> None:
    """And no session is left, which would hold back production's vacuum."""
    filled.complete()
    filled.load()
    # A role that exists everywhere and may read nothing of the application.
    filled.receiver = make_conninfo(filled.receiver, options="-c role=pg_signal_backend")
    shown = compare(filled)
    assert shown.exit_code == 2
    assert "permission denied" in shown.stderr
    assert "Traceback" not in shown.output
