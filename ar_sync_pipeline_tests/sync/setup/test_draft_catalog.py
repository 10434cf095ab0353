"""A proposed catalog can be loaded, passes the preflight, and explains its rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.catalog.draft import Draft, as_toml
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.setup.check_catalog import check_catalog
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.watch import database_findings
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline.transform.transapp.catalog_marks import lines_to_add
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows
from ar_sync_pipeline_tests.sync.setup.schemas import CHINOOK, DJANGO_SHOP, SEVERAL_SCHEMAS


def loaded(draft: Draft, folder: Path) -> Catalog:
    file = folder / "catalog.toml"
    file.write_text(as_toml(draft))
    return load_catalog(file)


def errors(url: str, catalog: Catalog) -> list[str]:
    return [str(one) for one in check_sender(url, catalog) if one.level is Level.ERROR]


def uncommented(text: str, section: str) -> str:
    """Return the file with the choices of one section uncommented."""
    head, mark, rest = text.partition(f"{section}\n")
    body, end, tail = rest.partition("\n\n")
    return head + mark + re.sub(r"^# (?=\w+ = )", "", body, flags=re.MULTILINE) + end + tail


@pytest.mark.parametrize(
    "schema", [CHINOOK, DJANGO_SHOP, SEVERAL_SCHEMAS], ids=["chinook", "django", "several schemas"]
)
def test_draft_loads_and_passes_the_preflight_unchanged(
    empty_database: str, tmp_path: Path, schema: str
) -> None:
    execute(empty_database, schema)
    catalog = loaded(draft_catalog(empty_database), tmp_path)
    assert check_sender(empty_database, catalog) is not None
    assert errors(empty_database, catalog) == []
    assert [f for f in check_receiver(empty_database, catalog) if f.level is Level.ERROR] == []


def test_chinook_is_replicated_whole_with_a_word_on_every_personal_column(
    empty_database: str, tmp_path: Path
) -> None:
    execute(empty_database, CHINOOK)
    draft = draft_catalog(empty_database)
    catalog, text = loaded(draft, tmp_path), as_toml(draft)
    assert len(catalog.tables) == draft.table_count == 11
    assert check_sender(empty_database, catalog) == ()
    chosen = load_text(uncommented(text, "[table.Customer]"), tmp_path)
    assert set(chosen.rules("Customer").exclude) == {
        *("Company", "Address", "City", "State", "Country", "PostalCode", "Phone", "Fax"),
    }
    # What must not be NULL gets another value.
    assert set(chosen.rules("Customer").mask) == {"FirstName", "LastName", "Email"}
    assert check_sender(empty_database, chosen)[0].level is Level.NOTE
    assert "key PlaylistId, TrackId" in text
    assert "Genre]" not in text


def load_text(text: str, folder: Path) -> Catalog:
    file = folder / "chosen.toml"
    file.write_text(text)
    return load_catalog(file)


def test_django_is_recognised_its_bookkeeping_left_out_and_its_moving_column_chosen(
    empty_database: str, tmp_path: Path
) -> None:
    execute(empty_database, DJANGO_SHOP)
    draft = draft_catalog(empty_database, name="shop")
    catalog = loaded(draft, tmp_path)
    assert (catalog.name, catalog.django_app) == ("shop", "shop")
    assert set(catalog.exclude) == {"django_migrations", "django_session"}
    assert catalog.replicates("auth_user")
    assert catalog.tracked() == ("shop_product",)
    assert catalog.rules("shop_product").changed_at == "modified"
    (product,) = (section for section in draft.sections if section.label == "shop_product")
    assert "modified (index" in product.notes[0]
    assert "created (no index" in product.notes[1]
    (user,) = (section for section in draft.sections if section.label == "auth_user")
    key, columns, why = user.choices[-1]
    assert (key, columns) == (
        "mask",
        {
            "password": {"constant": ""},
            "username": "pseudonym",
            "first_name": "pseudonym",
            "last_name": "pseudonym",
            "email": "pseudonym",
        },
    )
    assert "AR_SYNC_PSEUDONYM_KEY" in why


def test_of_several_django_apps_one_line_names_the_largest(
    empty_database: str, tmp_path: Path
) -> None:
    execute(
        empty_database,
        DJANGO_SHOP,
        "CREATE TABLE blog_post (id int PRIMARY KEY)",
        "CREATE TABLE news_item (id int PRIMARY KEY)",
        "INSERT INTO django_migrations (app, name, applied)"
        " VALUES ('blog', '0001', now()), ('news', '0001', now())",
    )
    text = as_toml(draft_catalog(empty_database))
    assert text.count("django_app =") == 1
    assert '("blog", "news")' in text
    chosen = re.sub(r"^# (?=django_app = )", "", text, flags=re.MULTILINE)
    assert load_text(chosen, tmp_path).django_app == "shop"


MY_SHOP = (
    "CREATE TABLE django_migrations (app text, name text)",
    "INSERT INTO django_migrations VALUES ('my_shop', ''), ('my', ''), ('auth', ''), ('none', '')",
    "CREATE TABLE my_shop_order (id int PRIMARY KEY)",
    "CREATE TABLE auth_group (id int PRIMARY KEY)",
    "CREATE TABLE legacy_log (id int PRIMARY KEY)",
)


def test_app_is_one_that_has_migrations(empty_database: str) -> None:
    execute(empty_database, *MY_SHOP)
    assert draft_catalog(empty_database).django_app == "my_shop"


def test_app_that_is_only_guessed_is_a_comment(empty_database: str) -> None:
    role = f"guesses in {empty_database.rpartition('/')[2]}"
    execute(
        empty_database,
        *MY_SHOP[:-1],
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT SELECT ON my_shop_order, auth_group TO "{role}"',
    )
    text = as_toml(draft_catalog(make_conninfo(empty_database, user=role)))
    assert '\n# django_app = "my"\n' in text
    assert "This is a guess" in text


@pytest.mark.parametrize("name", ["at", "ts", "time", "date_created", "inserted_at"])
def test_time_at_which_a_row_is_made_is_a_choice_and_no_rule(
    empty_database: str, name: str
) -> None:
    execute(empty_database, f"CREATE TABLE visit (id int PRIMARY KEY, {name} timestamptz)")
    (section,) = draft_catalog(empty_database).sections
    assert section.rules == {}
    assert section.choices[0][:2] == ("changed_at", name)
    # `latest_revision_created_at` of Wagtail moves: a name says only what a column seems to be.
    assert section.choices[0][2].startswith("By its name, ")


def test_rows_of_a_table_that_was_never_analyzed_are_not_said_to_be_none(
    empty_database: str,
) -> None:
    execute(
        empty_database,
        "CREATE TABLE counted (id int PRIMARY KEY)",
        "CREATE TABLE uncounted (id int PRIMARY KEY)",
        "INSERT INTO counted SELECT generate_series(1, 50)",
        "INSERT INTO uncounted SELECT generate_series(1, 50)",
        "ANALYZE counted",
    )
    text = as_toml(draft_catalog(empty_database))
    assert re.search(r'"counted",  # key id; .* MB, about 50 rows', text)
    assert re.search(r'"uncounted",  # key id; .* MB, not analyzed', text)


def test_every_schema_is_listed_and_what_cannot_be_named_is_said(
    empty_database: str, tmp_path: Path
) -> None:
    execute(empty_database, SEVERAL_SCHEMAS)
    draft = draft_catalog(empty_database)
    catalog, text = loaded(draft, tmp_path), as_toml(draft)
    assert {schema: len(tables) for schema, tables in draft.tables.items()} == {
        "public": 6,
        "billing": 2,
    }
    assert catalog.replicates("public.we.ird table")
    assert catalog.rules("billing.invoice").receiver_columns == ("valid",)
    assert "2 partitions" in text
    assert "view towns, materialized view towns_kept" in text
    assert "schema has a dot: Sales.Old.sale" in text
    assert '"heap",  # no key: sent whole each time' in text
    zoned = load_text(uncommented(text, '[table."billing.invoice"]'), tmp_path)
    assert zoned.rules("billing.invoice").changed_at == "updated_at"
    assert errors(empty_database, zoned) == []


def test_tables_of_an_extension_decide_neither_the_schema_nor_the_app(
    empty_database: str, tmp_path: Path
) -> None:
    execute(
        empty_database,
        DJANGO_SHOP,
        "CREATE SCHEMA tiger",
        *(f"CREATE TABLE tiger.spatial_{n} (id int PRIMARY KEY)" for n in range(12)),
        *(f"ALTER EXTENSION plpgsql ADD TABLE tiger.spatial_{n}" for n in range(12)),
    )
    draft = draft_catalog(empty_database)
    assert (draft.schema, draft.django_app) == ("public", "shop")
    reasons = {table.label: table.about for table in draft.exclude}
    assert reasons["tiger.spatial_0"] == "belongs to the extension plpgsql"
    assert errors(empty_database, loaded(draft, tmp_path)) == []


def test_table_whose_name_would_be_a_pattern_is_said_and_matches_no_other(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(
            url,
            'CREATE TABLE "bus*" (id int PRIMARY KEY)',
            "CREATE TABLE bus_stop (id int PRIMARY KEY)",
        )
    execute(receiver, 'CREATE TABLE "bus_?top" (id int PRIMARY KEY)')
    draft = draft_catalog(sender, receiver)
    catalog, text = loaded(draft, tmp_path), as_toml(draft)
    assert (catalog.tables, catalog.receiver_tables) == (("bus_stop",), ())
    assert catalog.replicates("bus_stop")
    assert "since its name has a * or ?, which is special in a catalog: bus*." in text


def test_tables_that_cannot_be_replicated_are_excluded_with_the_reason(
    empty_database: str, tmp_path: Path
) -> None:
    execute(
        empty_database,
        "CREATE TABLE big (v text)",
        "INSERT INTO big SELECT repeat(md5(n::text), 60) FROM generate_series(1, 40000) n",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON hidden USING (false)",
        "CREATE TABLE refers (id int PRIMARY KEY, hidden_id int REFERENCES hidden)",
        "CREATE TABLE computed (v text GENERATED ALWAYS AS ('x') STORED)",
    )
    role = f"reader {uuid4().hex}"
    url = make_conninfo(empty_database, user=role)
    execute(empty_database, f'CREATE ROLE "{role}" LOGIN')
    try:
        draft = draft_catalog(url)
        reasons = {table.label: table.about for table in draft.exclude}
        assert sorted(reasons) == ["big", "computed", "hidden"]
        assert "no primary key" in reasons["big"]
        assert "(own): give it BYPASSRLS first" in reasons["hidden"]
        assert "no column to replicate" in reasons["computed"]
        assert "refers to hidden, which is not replicated" in as_toml(draft)
        execute(
            empty_database,
            f'GRANT SELECT ON refers TO "{role}"',
            f'GRANT EXECUTE ON FUNCTION pg_control_system() TO "{role}"',
        )
        assert errors(url, loaded(draft, tmp_path)) == []
    finally:
        execute(empty_database, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


def test_what_a_replicated_table_refers_to_is_replicated_even_if_it_is_bookkeeping(
    empty_database: str,
) -> None:
    execute(
        empty_database,
        "CREATE TABLE migrations (id int PRIMARY KEY)",
        "CREATE TABLE user_sessions (sid text PRIMARY KEY, data text)",
        "CREATE TABLE click (id int PRIMARY KEY, sid text REFERENCES user_sessions)",
        "CREATE TABLE sessions (id int PRIMARY KEY, speaker text, hall text)",
    )
    draft = draft_catalog(empty_database)
    assert [table.label for table in draft.exclude] == ["migrations"]
    assert [table.label for table in draft.tables["public"]] == [
        "click", "sessions", "user_sessions",
    ]  # fmt: skip


def test_media_columns_are_found_by_the_files_that_their_values_name(
    empty_database: str, tmp_path: Path
) -> None:
    media = tmp_path / "media"
    (media / "shop").mkdir(parents=True)
    (tmp_path / "secret.jpg").touch()
    for number in range(5):
        (media / "shop" / f"{number}.jpg").touch()
    execute(
        empty_database,
        "CREATE TABLE product (id serial PRIMARY KEY, picture text NOT NULL, name text, up text)",
        "INSERT INTO product (picture, name, up) SELECT CASE WHEN n < 5 THEN 'shop/' || n || '.jpg'"
        " WHEN n < 9 THEN 'none' ELSE '' END, 'shop ' || n, '../secret.jpg'"
        " FROM generate_series(0, 12) n",
    )
    draft = draft_catalog(empty_database, media_folder=media)
    catalog = loaded(draft, tmp_path)
    rules = catalog.rules("product")
    assert rules.media_columns == ("picture",)
    assert set(rules.no_media_values) == {"", "none"}
    assert "AR_SYNC_MEDIA_PATTERNS=*.jpg" in as_toml(draft)
    assert "5 of 6 values" in as_toml(draft)
    assert draft_catalog(empty_database).sections == ()


def test_media_columns_need_no_more_than_statistics(empty_database: str, tmp_path: Path) -> None:
    """The first rows name no file; the sample of the statistics does."""
    for number in range(4000, 6000):
        (tmp_path / f"{number}.jpg").touch()
    execute(
        empty_database,
        "CREATE TABLE product (id serial PRIMARY KEY, picture text)",
        "INSERT INTO product (picture) SELECT CASE WHEN n >= 4000 THEN n || '.jpg' END"
        " FROM generate_series(0, 5999) n",
        "ANALYZE product",
    )
    draft = draft_catalog(empty_database, media_folder=tmp_path)
    assert draft.sections[0].rules == {"media_columns": ["picture"]}


def test_receiver_only_tables_and_columns_are_read_from_its_database(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    execute(sender, DJANGO_SHOP)
    execute(
        receiver,
        DJANGO_SHOP,
        "CREATE TABLE dashboard (id int PRIMARY KEY)",
        "CREATE TABLE alembic_version (v text)",
        "ALTER TABLE shop_order ADD fixed boolean",
        "ALTER TABLE shop_product DROP price",
        "DROP TABLE shop_orderline",
    )
    draft = draft_catalog(sender, receiver)
    catalog, text = loaded(draft, tmp_path), as_toml(draft)
    assert catalog.receiver_tables == ("dashboard",)
    assert catalog.rules("shop_order").receiver_columns == ("fixed",)
    assert "The receiver lacks price" in text
    assert "The receiver has no such table" in text
    assert errors(sender, catalog) == []


def test_draft_of_android_requests_finds_what_its_own_catalog_says(
    sample_sender_a: str, receiver_db: str, tmp_path: Path
) -> None:
    own = load_catalog()
    draft = draft_catalog(sample_sender_a, receiver_db)
    catalog, text = loaded(draft, tmp_path), as_toml(draft)
    # Two columns that are set when a row is inserted: a choice, not a rule.
    made = set(own.tracked()) - set(catalog.tracked())
    assert made == {"AndroidRequests_token", "AndroidRequests_scorehistory"}
    assert text.count('\n# changed_at = "timeCreation"') >= 2
    assert {label: set(rules.receiver_columns) for label, rules in own.table.items()} == {
        label: set(catalog.rules(label).receiver_columns) for label in own.table
    }
    assert all(map(own.is_receiver_only, catalog.receiver_tables))
    assert errors(sample_sender_a, catalog) == []
    # The built-in rules accept it: loads leave changed rows to them.
    assert list(lines_to_add(catalog)) == []


def test_columns_that_a_person_leaves_out_never_leave_the_sender(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, DJANGO_SHOP)
    execute(receiver, *(f"ALTER TABLE auth_user ALTER {column} DROP NOT NULL" for column in
                        ("password", "username", "first_name", "last_name", "email")))  # fmt: skip
    execute(
        sender,
        "INSERT INTO auth_user VALUES (7, 'pbkdf2-PLANTED', now(), true, 'PLANTED', 'PLANTED',"
        " 'PLANTED', 'PLANTED@x', true, true, now())",
    )
    text = uncommented(as_toml(draft_catalog(sender, receiver)), "[table.auth_user]")
    catalog = load_text(text, tmp_path)
    assert errors(sender, catalog) == []
    sites = TwoSites(sender, receiver, catalog, tmp_path)
    sites.complete()
    assert len(sites.load().loaded) == 1
    assert rows(receiver, "SELECT id, email, is_staff FROM auth_user") == [(7, None, True)]


def test_hostile_names_neither_break_the_file_nor_reach_the_terminal(
    empty_database: str, tmp_path: Path
) -> None:
    name = 'evil"] \x1b[2J\n# \u202e\\'
    with psycopg.connect(empty_database, autocommit=True) as connection:
        quoted = psycopg.sql.Identifier(name)
        for statement in (
            'CREATE TABLE {0} (id int PRIMARY KEY, {0} text, "updated\n[table.x]" timestamptz)',
            "CREATE TABLE referred (id int PRIMARY KEY)",
            "ALTER TABLE {0} ADD CONSTRAINT {0} FOREIGN KEY (id) REFERENCES referred",
        ):
            connection.execute(psycopg.sql.SQL(statement).format(quoted))
    draft = draft_catalog(empty_database)
    catalog, text = loaded(draft, tmp_path), as_toml(draft)
    assert catalog.tables == (name, "referred")
    assert catalog.rules(name).changed_at == "updated\n[table.x]"
    assert all(line.isprintable() for line in text.splitlines())
    assert errors(empty_database, catalog) == []


def test_database_without_tables_is_refused(empty_database: str) -> None:
    with pytest.raises(SchemaError, match="has no table"):
        draft_catalog(empty_database)


def test_documents_are_named_wherever_they_are_since_their_keys_are_not_read(
    empty_database: str,
) -> None:
    execute(
        empty_database,
        "CREATE TABLE invoice (id int PRIMARY KEY, form_data jsonb, total numeric,"
        " total_tax jsonb GENERATED ALWAYS AS (form_data -> 'tax') STORED)",
        "CREATE TABLE customer (id int PRIMARY KEY, form_data jsonb)",
    )
    text = as_toml(draft_catalog(empty_database))
    assert text.count("form_data: a document may contain personal data") == 1
    assert "[table.invoice]" in text
    assert 'exclude = ["form_data"]' in text.partition("[table.customer]")[2]


def test_texts_that_are_often_documents_and_values_of_settings_are_noted(
    empty_database: str,
) -> None:
    execute(
        empty_database,
        "CREATE TABLE payment (id int PRIMARY KEY, info text, meta_info text, bank_info text,"
        " data_id text)",
        "CREATE TABLE version (id int PRIMARY KEY, object text, object_changes text,"
        " serialized_data text, task_args text, task_kwargs text, post_data text)",
        "CREATE TABLE settingsstore (id int PRIMARY KEY, key text, value text,"
        " payment_id int REFERENCES payment)",
        "CREATE TABLE translation (id int PRIMARY KEY, key text, language text, value text)",
    )
    text = as_toml(draft_catalog(empty_database))
    assert "# info, meta_info: text of this name may contain personal data" in text
    assert "# object, object_changes, serialized_data, task_args, task_kwargs, post_data:" in text
    assert "# value: a table of keys and values may contain secrets" in text
    assert text.count("keys and values") == 1


def test_time_of_failures_and_visits_is_a_choice_and_no_rule(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE device (id int PRIMARY KEY, throttling_failure_timestamp timestamptz)",
        "CREATE TABLE page (id int PRIMARY KEY, last_viewed_timestamp timestamptz,"
        " interview_updated_at timestamptz)",
    )
    device, page = draft_catalog(empty_database).sections
    assert device.rules == {}
    assert device.choices[0][:2] == ("changed_at", "throttling_failure_timestamp")
    assert page.rules == {"changed_at": "interview_updated_at"}


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ("user_updated_at created_at updated_at", "updated_at"),
        ("email_changed_at modified", "modified"),
        ("password_updated_at updated_on", "updated_on"),
        ("price_last_updated last_update", "last_update"),
        ("status_updated_at last_modified", "last_modified"),
        ("ratechangedate modifieddate", "modifieddate"),
        ("passwordUpdatedAt lastModifiedDate", "lastModifiedDate"),
        ("fecha_cambio_precio fecha_actualizacion", "fecha_actualizacion"),
    ],
)
def test_time_of_the_row_comes_before_that_of_one_column(
    empty_database: str, columns: str, chosen: str
) -> None:
    times = ", ".join(f'"{name}" timestamptz NOT NULL' for name in columns.split())
    times = times.replace(f'"{chosen}" timestamptz NOT NULL', f'"{chosen}" timestamptz')
    execute(empty_database, f"CREATE TABLE t (id int PRIMARY KEY, {times})")
    (section,) = draft_catalog(empty_database).sections
    assert section.rules == {"changed_at": chosen}
    assert "some changes only" not in "".join(section.notes)


def test_time_of_one_column_alone_is_said_to_be_one(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE users (id int PRIMARY KEY, password_changed_at timestamptz)",
        "CREATE TABLE visit (id int PRIMARY KEY, place_updated timestamp)",
    )
    users, visit = draft_catalog(empty_database).sections
    assert "by its name moves with some changes only" in users.notes[0]
    assert "by its name moves with some changes only" in visit.choices[0][2]


def test_name_that_most_tables_have_is_chosen_without_a_remark(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t (id int PRIMARY KEY, crm_updated timestamptz, updated_at timestamptz)",
        "CREATE TABLE u (id int PRIMARY KEY, crm_updated timestamptz)",
        "CREATE TABLE v (id int PRIMARY KEY, crm_updated timestamptz, price_updated timestamptz)",
    )
    for section in draft_catalog(empty_database).sections:
        assert section.rules["changed_at"] == "crm_updated"
        assert "some changes only" not in "".join(section.notes)


def test_time_in_the_key_does_not_move(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE pay (id int, rate_changed timestamptz, PRIMARY KEY (id, rate_changed))",
        "CREATE TABLE event (id int, timestamp timestamptz, PRIMARY KEY (id, timestamp))",
    )
    assert all("changed_at" not in one.rules for one in draft_catalog(empty_database).sections)


def test_masks_of_json_say_that_a_list_may_be_expected(empty_database: str) -> None:
    execute(empty_database, "CREATE TABLE mail (id int PRIMARY KEY, email jsonb NOT NULL)")
    text = re.sub(r"\n#  ", "", as_toml(draft_catalog(empty_database)))
    assert 'where the application expects a list, write "[]".' in text
    assert "NOT NULL columns without a default for `mask`" in text


def test_constraint_that_refuses_the_choices_is_noted_beside_them(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE contact (id int PRIMARY KEY, email text, phone text, amount int,"
        " CONSTRAINT reachable CHECK (email IS NOT NULL OR phone IS NOT NULL),"
        " CONSTRAINT positive CHECK (amount > 0))",
    )
    (section,) = draft_catalog(empty_database).sections
    assert section.choices[0][:2] == ("exclude", ["email", "phone"])
    (note,) = section.notes
    assert note.startswith(
        "constraint reachable of table contact refuses what `exclude` makes of email, phone"
    )


def test_files_of_pictures_are_noted_where_the_draft_knows_no_media_folder(
    empty_database: str, tmp_path: Path
) -> None:
    execute(
        empty_database,
        "CREATE TABLE profile (id int PRIMARY KEY, avatar text, photo text NOT NULL, email text)",
    )
    (section,) = draft_catalog(empty_database).sections
    (note,) = section.notes
    assert note.startswith("avatar, photo: files with these names are still sent")
    assert "`media_columns` and in `exclude`" in note
    # In a folder it is seen whether they name files.
    (section,) = draft_catalog(empty_database, media_folder=tmp_path).sections
    assert section.notes == ()


def test_draft_needs_no_right_in_the_schemas_of_others(empty_database: str, tmp_path: Path) -> None:
    role = f"draws up {empty_database.rpartition('/')[2]}"
    execute(
        empty_database,
        "CREATE TABLE t (id int PRIMARY KEY, note text)",
        "CREATE SCHEMA audit",
        "CREATE TABLE audit.log (id int PRIMARY KEY, updated_at timestamptz, note text)",
        "INSERT INTO audit.log VALUES (1, now()), (2, now())",
        "CREATE INDEX ON audit.log (updated_at)",
        "ANALYZE audit.log",
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT SELECT ON t, audit.log TO "{role}"',
    )
    draft = draft_catalog(make_conninfo(empty_database, user=role), media_folder=tmp_path)
    (listed,) = draft.tables["audit"]
    assert listed.label == "audit.log"
    assert "about 2 rows" in listed.about
    (section,) = (one for one in draft.sections if one.label == "audit.log")
    assert section.rules["changed_at"] == "updated_at"
    assert "updated_at (index" in section.notes[0]


@pytest.mark.parametrize("names", [("access", "refresh"), ("refresh", "access")])
def test_tables_of_tokens_that_refer_only_to_each_other_are_all_excluded(
    empty_database: str, names: tuple[str, str]
) -> None:
    first, second = (f"{name}_token" for name in names)
    execute(
        empty_database,
        "CREATE TABLE shop_order (id int PRIMARY KEY)",
        f"CREATE TABLE {first} (token text PRIMARY KEY)",
        f"CREATE TABLE {second} (token text PRIMARY KEY, origin text REFERENCES {first})",
    )
    draft = draft_catalog(empty_database)
    assert {table.label for table in draft.exclude} == {first, second}
    execute(empty_database, f"ALTER TABLE shop_order ADD made_by text REFERENCES {first}")
    assert {table.label for table in draft_catalog(empty_database).exclude} == {second}


def test_tables_of_the_receivers_extensions_are_not_for_a_load_to_write(
    database_factory: DatabaseFactory,
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE shop_order (id int PRIMARY KEY)")
    execute(
        receiver,
        "CREATE TABLE dashboard (id int PRIMARY KEY)",
        "CREATE SCHEMA cron",
        "CREATE TABLE cron.job (id int PRIMARY KEY)",
        "ALTER EXTENSION plpgsql ADD TABLE cron.job",
    )
    draft = draft_catalog(sender, receiver)
    assert [table.label for table in draft.receiver_tables] == ["dashboard"]


UNIQUE = """
CREATE DOMAIN filled AS text NOT NULL;
CREATE TABLE customer (id int PRIMARY KEY, phone text, email filled,
  password varchar(40) UNIQUE NOT NULL DEFAULT '',
  address text, CONSTRAINT one UNIQUE NULLS NOT DISTINCT (address));
"""


@pytest.mark.parametrize("both", [True, False])
def test_a_column_without_whose_value_rows_are_refused_is_not_proposed_for_exclusion(
    database_factory: DatabaseFactory, tmp_path: Path, both: bool
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, UNIQUE)
    draft = draft_catalog(sender, receiver if both else None)
    text = uncommented(as_toml(draft), "[table.customer]")
    rules = load_text(text, tmp_path).rules("customer")
    assert list(rules.exclude) == ["phone"]
    assert rules.mask.keys() == {"password", "address"}
    assert "email: looks personal (contact) and needs a value of the type public.filled" in text


def test_types_of_the_receiver_are_tried_at_the_receiver(database_factory: DatabaseFactory) -> None:
    sender, receiver = database_factory(), database_factory()
    execute(sender, "CREATE TABLE person (id int PRIMARY KEY, email text, phone text)")
    execute(
        receiver,
        "CREATE DOMAIN address AS text NOT NULL",
        "CREATE TABLE person (id int PRIMARY KEY, email address, phone text)",
    )
    text = as_toml(draft_catalog(sender, receiver))
    assert 'exclude = ["phone"]' in text
    assert "email: looks personal (contact) and needs a value" in text


def test_column_without_a_binary_form_is_named_by_draft_and_check(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(
            url,
            "CREATE TABLE book (id int PRIMARY KEY, own aclitem, others aclitem[], title text)",
            "CREATE TABLE granted (own aclitem NOT NULL, title text)",
        )
    draft = draft_catalog(sender, receiver)
    text = " ".join(as_toml(draft).replace("\n#", "").split())
    assert "own: is not replicated, since its type aclitem has no binary form." in text
    assert "others: is not replicated, since its type aclitem[] has no binary form." in text
    assert text.count("NOT NULL has to be dropped at the receiver.") == 1
    catalog = loaded(draft, tmp_path)
    found = {str(one): one.level for one in check_catalog(catalog, sender, receiver)}
    notes = [text for text, level in found.items() if level is Level.NOTE]
    assert any("column own of table book is not replicated, since its type" in n for n in notes)
    (error,) = [text for text, level in found.items() if level is Level.ERROR]
    assert "granted.own needs a value that the catalog withholds (drop NOT NULL there" in error


def test_check_reads_the_tables_of_each_database_once(
    database_factory: DatabaseFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of tables each reading takes a second."""
    sender, receiver = database_factory(), database_factory()
    execute(sender, "CREATE TABLE book (id int PRIMARY KEY, title text)")
    catalog, read = Catalog.model_validate({"name": "c", "tables": ["book"]}), read_tables
    databases: list[str] = []

    def counted(connection: Connection, *arguments: Any) -> dict[str, TableFacts]:
        databases.append(connection.info.dbname)
        return read(connection, *arguments)

    monkeypatch.setattr(database_findings, "read_tables", counted)
    found = [str(one) for one in check_catalog(catalog, sender, receiver)]
    assert any("the receiver has no table book" in one for one in found)
    assert len(databases) == len(set(databases)) == 2
    # Nothing is kept for the next call.
    execute(receiver, "CREATE TABLE book (id int PRIMARY KEY, title text)")
    found = [str(one) for one in check_catalog(catalog, sender, receiver)]
    assert not any("the receiver has no table book" in one for one in found)
