"""What ``ar-sync check`` finds in a database, and what a dump refuses or leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.sync.setup.check_catalog import check_catalog
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute

BESIDE_TABLES = (
    "CREATE TABLE t_a (id int PRIMARY KEY, v text)",
    "CREATE VIEW t_view AS SELECT * FROM t_a",
    "CREATE MATERIALIZED VIEW t_kept AS SELECT * FROM t_a",
    "CREATE FOREIGN DATA WRAPPER nowhere",
    "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
    "CREATE FOREIGN TABLE t_far (id int) SERVER elsewhere",
    "CREATE SEQUENCE t_numbers",
    "CREATE TABLE events (id int, PRIMARY KEY (id)) PARTITION BY RANGE (id)",
    "CREATE TABLE t_events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)",
)


def catalog_of(*tables: str, **fields: object) -> Catalog:
    return Catalog.model_validate({"name": "x", "tables": tables, **fields})


def found(url: str, catalog: Catalog) -> list[str]:
    return [f"{one.level}: {one}" for one in check_sender(url, catalog)]


def found_at_receiver(url: str, catalog: Catalog) -> list[str]:
    return [f"{one.level}: {one}" for one in check_receiver(url, catalog)]


def test_database_that_fits_its_catalog_gives_no_finding(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t_a (id serial PRIMARY KEY, at timestamptz)",
        "CREATE TABLE t_p (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t_p_1 PARTITION OF t_p FOR VALUES FROM (0) TO (10)",
        "CREATE VIEW other AS SELECT 1",
    )
    catalog = catalog_of("t_*", table={"t_a": {"changed_at": "at"}})
    assert found(empty_database, catalog) == []
    assert found_at_receiver(empty_database, catalog) == []


def test_zone_that_only_the_machine_knows_is_an_error(empty_database: str) -> None:
    execute(empty_database, "CREATE TABLE t_a (id serial PRIMARY KEY, at timestamp)")
    rules = {"changed_at": "at", "changed_at_zone": "Asia/Nowhere"}
    (line,) = found(empty_database, catalog_of("t_*", table={"t_a": rules}))
    assert line.startswith("error: the database knows no time zone Asia/Nowhere, which the catalog")
    rules["changed_at_zone"] = "America/Santiago"
    assert found(empty_database, catalog_of("t_*", table={"t_a": rules})) == []


def test_what_a_wildcard_matches_and_no_archive_carries_is_named(empty_database: str) -> None:
    execute(empty_database, *BESIDE_TABLES)
    said = found(empty_database, catalog_of("t_*"))
    assert [line.partition(" matches")[0].partition(" is a")[0] for line in said] == [
        "warning: table t_events_1",
        "warning: foreign table t_far",
        "warning: materialized view t_kept",
        "warning: sequence t_numbers",
        "warning: view t_view",
    ]
    assert "events in `tables`" in said[0]
    assert found(empty_database, catalog_of("t_a")) == []
    excluded = ["t_[ef]*", "t_e*", "t_f*", "t_k*", "t_n*", "t_v*"]
    assert found(empty_database, catalog_of("t_*", exclude=excluded)) == []
    assert found(empty_database, catalog_of("t_a", "events", "t_events_1")) == []


@pytest.mark.parametrize("name", ["t_view", "t_kept", "t_far", "t_events_1", "t_numbers"])
def test_dump_refuses_a_catalog_that_names_one_of_them_for_itself(
    small_sites: TwoSites, name: str
) -> None:
    small_sites.at_sender(*BESIDE_TABLES)
    small_sites.catalog = catalog_of("t_a", name)
    with pytest.raises(SchemaError, match=f"{name} .* not replicated") as caught:
        small_sites.complete()
    # A name of `tables` cannot also be one of `exclude`.
    assert f'remove "{name}" from `tables`' in caught.value.remedy
    small_sites.catalog = catalog_of("t_*")
    small_sites.complete()


def test_large_objects_and_columns_that_name_them_are_said(empty_database: str) -> None:
    execute(empty_database, "CREATE TABLE t_a (id int PRIMARY KEY, paper oid, own oid, c regclass)")
    catalog = catalog_of("t_a", table={"t_a": {"receiver_columns": ["own"]}})
    said = found(empty_database, catalog)
    assert len(said) == 2
    assert "column paper of table t_a is of type oid; a large object" in said[0]
    assert "column c of table t_a is of type regclass, whose values mean other" in said[1]
    execute(empty_database, "SELECT lo_from_bytea(0, 'x')")
    assert "the database has large objects" in found(empty_database, catalog)[2]


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("by_name", "which has regclass in it, whose values mean other"),
        ("by_name[]", "which has regclass in it, whose values mean other"),
        ("regclass[]", "is of type regclass[], whose values mean other"),
        ("with_name", "which has regclass in it, whose values mean other"),
        ("with_name[]", "which has regclass in it, whose values mean other"),
        ("paper", "which has oid in it; a large object"),
        ("oid[]", "is of type oid[]; a large object"),
    ],
)
def test_numbers_of_objects_within_a_type_are_said(
    empty_database: str, type_: str, said: str
) -> None:
    execute(
        empty_database,
        "CREATE DOMAIN by_name AS regclass; CREATE TYPE with_name AS (c by_name, n oid)",
        f"CREATE DOMAIN paper AS oid; CREATE TABLE t_a (id int PRIMARY KEY, c {type_})",
    )
    (finding,) = found(empty_database, catalog_of("t_a"))
    assert "column c of table t_a" in finding
    assert said in finding


@pytest.mark.parametrize(
    ("sent", "held", "said"),
    [
        ("UTF8", "LATIN1", "has the encoding UTF8 and the receiver's LATIN1"),
        ("UTF8", "SQL_ASCII", "has the encoding UTF8 and the receiver's SQL_ASCII"),
        ("SQL_ASCII", "UTF8", "has the encoding SQL_ASCII and the receiver's UTF8"),
        ("LATIN1", "UTF8", ""),
        ("LATIN1", "LATIN1", ""),
    ],
)
def test_encodings_that_do_not_fit_are_said(
    postgres_server: EmbeddedPostgres, sent: str, held: str, said: str
) -> None:
    urls = []
    for side, encoding in (("sender", sent), ("receiver", held)):
        name = f"encoding_{side}"
        postgres_server.drop_database(name)
        execute(
            postgres_server.url(),
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'",
        )
        urls.append(postgres_server.url(name))
        execute(urls[-1], "CREATE TABLE t_a (id int PRIMARY KEY, v text)")
    found = [str(one) for one in check_catalog(catalog_of("t_a"), *urls)]
    assert [said in one for one in found if "encoding" in one] == [True] * bool(said)
    for side in ("sender", "receiver"):
        postgres_server.drop_database(f"encoding_{side}")


def test_table_with_a_type_that_has_no_binary_form_is_refused_by_name(
    small_sites: TwoSites,
) -> None:
    statement = "CREATE TABLE t_a (id int PRIMARY KEY, rights aclitem[], v text)"
    small_sites.at_sender(statement)
    small_sites.catalog = catalog_of("t_*")
    with pytest.raises(SchemaError, match="column rights of t_a has the type aclitem"):
        small_sites.complete()
    small_sites.catalog = catalog_of("t_*", table={"t_a": {"receiver_columns": ["rights"]}})
    small_sites.complete()


def test_references_out_of_the_catalog_are_named_with_the_table_to_add(
    empty_database: str,
) -> None:
    execute(
        empty_database,
        "CREATE SCHEMA x",
        "CREATE TABLE x.person (id int PRIMARY KEY)",
        "CREATE TABLE t_a (id int PRIMARY KEY, owner int CONSTRAINT owned REFERENCES x.person)",
    )
    (said,) = found(empty_database, catalog_of("t_*"))
    assert said.startswith("warning: table t_a refers to x.person (owned), which is not replic")
    assert 'add "x.person" to `tables` of the catalog' in said
    assert found(empty_database, catalog_of("t_*", "x.person")) == []


def test_columns_that_rules_name_exist_and_have_the_right_type(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t_a (id int PRIMARY KEY, zoned timestamptz(3), local timestamp, day date,"
        " word text)",
    )

    def said(**rules: object) -> list[str]:
        return found(empty_database, catalog_of("t_a", table={"t_a": rules}))

    zone = {"changed_at_zone": "America/Santiago"}
    assert said(changed_at="zoned") == []
    assert said(changed_at="local", **zone) == said(changed_at="day", **zone) == []
    assert (
        "column local of t_a is a timestamp without time zone, which" in said(changed_at="local")[0]
    )
    assert "is not used, since zoned is a timestamp" in said(changed_at="zoned", **zone)[0]
    assert "error: column word of t_a is a text" in said(changed_at="word")[0]
    assert "error: table t_a has no column modified" in said(changed_at="modified")[0]
    assert "`media_columns` of table t_a names picture" in said(media_columns=["picture"])[0]
    assert "names plate" in said(rewritten_by_transform=["plate"])[0]


def test_children_without_a_foreign_key_are_said(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t_a (id int PRIMARY KEY)",
        "CREATE TABLE t_b (id int PRIMARY KEY, a int)",
    )
    catalog = catalog_of("t_*", table={"t_a": {"children": ["t_b"]}})
    assert "names t_b, which has no foreign key to it" in found(empty_database, catalog)[0]
    execute(empty_database, "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a")
    assert found(empty_database, catalog) == []


def test_keys_are_judged_by_size_and_by_what_is_generated(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t_none (v text)",
        "INSERT INTO t_none SELECT repeat(md5(n::text), 40) FROM generate_series(1, 2000) n",
        "CREATE TABLE t_unique (code text NOT NULL UNIQUE)",
        "CREATE TABLE t_generated (n int NOT NULL UNIQUE, id int GENERATED ALWAYS AS (n + 1) STORED"
        " PRIMARY KEY)",
        "CREATE TABLE t_own (id int PRIMARY KEY, v text)",
    )
    own = {"t_own": {"receiver_columns": ["id"]}}
    said = found(empty_database, catalog_of("t_*", whole_table_limit_mb=1, table=own))
    assert len(said) == 4
    assert "error: table t_none has no primary key and no unique key of NOT NULL columns" in said[0]
    assert "error: the catalog keeps key column id of t_own from being replicated" in said[1]
    assert "by a unique key (n), since its primary key is generated (id)" in said[2]
    assert "by a unique key (code), since it has no primary key" in said[3]
    noted = found(empty_database, catalog_of("t_none"))
    assert "note: table t_none has no key, and its" in noted[0]
    assert "sent whole each time" in noted[0]


class TestReceiversTableWithoutAKey:
    """Archives are parked only if the sender's table has a key."""

    CATALOG = catalog_of("t_*")

    def test_is_a_note_while_the_senders_is_unknown(self, empty_database: str) -> None:
        execute(empty_database, "CREATE TABLE t_a (v text, at timestamptz)")
        (line,) = found_at_receiver(empty_database, self.CATALOG)
        assert line.startswith("note: table t_a has no primary key")
        assert line.endswith("if that has none, nothing is to be done.")
        rules = {"t_a": {"changed_at": "at"}}
        (line,) = found_at_receiver(empty_database, catalog_of("t_*", table=rules))
        assert line.startswith("error: table t_a has no primary key")

    @pytest.mark.parametrize("sender_has_one", [True, False])
    def test_is_judged_by_the_senders_table(
        self, database_factory: DatabaseFactory, *, sender_has_one: bool
    ) -> None:
        sender, receiver = database_factory(), database_factory()
        execute(sender, f"CREATE TABLE t_a (v text {'PRIMARY KEY' if sender_has_one else ''})")
        execute(receiver, "CREATE TABLE t_a (v text)")
        said = [str(one) for one in check_catalog(self.CATALOG, sender, receiver)]
        assert len([one for one in said if "at the receiver" in one]) == sender_has_one
        assert [one for one in said if "where the sender's has one" in one] == []

    @pytest.mark.parametrize("sender_has_one", [True, False])
    def test_is_judged_by_the_newest_complete_if_later_partials_lack_the_table(
        self, filled: TwoSites, *, sender_has_one: bool
    ) -> None:
        drop = "ALTER TABLE app_child DROP CONSTRAINT app_child_pkey CASCADE"
        filled.at_receiver(drop)
        if not sender_has_one:
            filled.at_sender(drop)
        complete = verify_archive(filled.complete(), signing_keys=())
        partial = complete.model_copy(update={"tables": ()})
        of_child = [
            one
            for one in check_receiver(filled.receiver, filled.catalog, partial, complete)
            if "app_child" in str(one)
        ]
        assert [one.level for one in of_child] == (["error"] if sender_has_one else [])


def test_names_that_match_nothing_are_said(empty_database: str) -> None:
    execute(empty_database, "CREATE TABLE t_a (id int PRIMARY KEY)")
    catalog = catalog_of("t_*", "T_*", "x.t", table={"t_b": {}})
    assert [line.partition(":  ")[0].partition(": correct")[0] for line in
            found(empty_database, catalog)] == [
        "warning: `T_*` of `tables` matches no table",
        "warning: `x.t` of `tables` is not in the database",
        "warning: table t_b has rules and is not in the database",
    ]  # fmt: skip
    assert (
        "error: the database has no table that matches u_*"
        in found(empty_database, catalog_of("u_*"))[0]
    )
    assert len(found_at_receiver(empty_database, catalog)) == 3


def test_view_or_partition_in_place_of_a_table_is_named_as_that(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE VIEW t_view AS SELECT 1",
        "CREATE TABLE own (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t_part PARTITION OF own FOR VALUES FROM (0) TO (10)",
    )
    for pattern in ("t_v*", "t_view"):
        (said,) = found_at_receiver(empty_database, catalog_of(pattern))
        assert said.startswith("warning: t_view is a view at the receiver and no table")
    (said,) = found_at_receiver(empty_database, catalog_of("t_p*"))
    assert "t_part is a partition at the receiver" in said
    # A view of the receiver's own is nobody's business.
    execute(empty_database, "CREATE TABLE t_a (id int PRIMARY KEY)")
    assert found_at_receiver(empty_database, catalog_of("t_*")) == []


def test_rights_that_a_role_lacks_are_said_as_statements_that_give_them(
    database_factory: DatabaseFactory,
) -> None:
    url = database_factory()
    name = url.rpartition("/")[2]
    role = f"poor role of {name}"
    execute(
        url,
        "CREATE SCHEMA x",
        "CREATE TABLE x.t_a (id serial PRIMARY KEY, owner text)",
        "ALTER TABLE x.t_a ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own_rows ON x.t_a USING (owner = 'x')",
        f'CREATE ROLE "{role}" LOGIN',
    )
    scheme, _, rest = url.partition("://")
    as_role = f"{scheme}://{role.replace(' ', '%20')}@{rest.partition('@')[2]}"
    catalog = catalog_of("x.t_*")
    for check in (check_sender, check_receiver):
        for _ in range(4):  # each statement makes the next missing right visible to the role
            findings = [one for one in check(as_role, catalog) if one.level == "error"]
            for one in findings:
                execute(url, one.remedy.partition(" or run")[0].rstrip(",;"))
        assert not findings, findings
        execute(url, f'ALTER ROLE "{role}" NOBYPASSRLS')
    assert check_sender(as_role, catalog)[0].problem == (
        "table x.t_a hides rows from this role by row level security (own_rows)"
    )


def test_triggers_that_loads_fire_are_said_with_the_right_that_suppresses_them(
    database_factory: DatabaseFactory,
) -> None:
    url = database_factory()
    role = f"loader of {url.rpartition('/')[2]}"
    execute(
        url,
        "CREATE TABLE t_a (id int PRIMARY KEY)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER stamp BEFORE UPDATE ON t_a FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE TRIGGER off BEFORE UPDATE ON t_a FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE t_a DISABLE TRIGGER off",
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT CREATE ON DATABASE "{url.rpartition("/")[2]}" TO "{role}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON t_a TO "{role}"',
    )
    scheme, _, rest = url.partition("://")
    as_role = f"{scheme}://{role.replace(' ', '%20')}@{rest.partition('@')[2]}"
    catalog = catalog_of("t_*")
    (fires,) = check_receiver(as_role, catalog)
    assert fires.problem == "table t_a fires its triggers for replicated rows (stamp)"
    execute(url, fires.remedy)
    assert check_receiver(as_role, catalog) == ()
    execute(url, "ALTER TABLE t_a ENABLE ALWAYS TRIGGER stamp")
    (always,) = check_receiver(as_role, catalog)
    assert "ENABLE ALWAYS or REPLICA for replicated rows (stamp)" in always.problem
    assert check_receiver(as_role, catalog_of("t_a", table={"t_a": {"triggers": "fire"}})) == ()
    execute(url, always.remedy)
    assert check_receiver(as_role, catalog) == ()


def test_schema_whose_name_has_a_dot_is_refused_by_name(small_sites: TwoSites) -> None:
    small_sites.at_sender(
        'CREATE SCHEMA "a.b"',
        'CREATE TABLE "a.b".c (id int PRIMARY KEY)',
        "CREATE SCHEMA a",
        'CREATE TABLE a."b.c" (id int PRIMARY KEY)',
    )
    small_sites.catalog = catalog_of("app_*", "a.*")
    with pytest.raises(SchemaError, match=r'table a\.b\.c of schema "a\.b" has no label'):
        small_sites.complete()
    small_sites.catalog = catalog_of("c", schema="a.b")
    small_sites.complete()


def test_tables_that_inherit_and_are_not_replicated_are_said(empty_database: str) -> None:
    execute(
        empty_database,
        "CREATE TABLE t_p (id int PRIMARY KEY)",
        "CREATE TABLE more (extra int) INHERITS (t_p)",
    )
    assert "table more inherits from t_p" in found(empty_database, catalog_of("t_*"))[0]


def test_partitions_whose_changes_only_completes_bring_are_said(empty_database: str) -> None:
    """Rows of a foreign table have no transaction ids."""
    execute(
        empty_database,
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER far FOREIGN DATA WRAPPER w",
        "CREATE TABLE t_p (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE near PARTITION OF t_p FOR VALUES FROM (0) TO (9)",
        "CREATE FOREIGN TABLE old PARTITION OF t_p FOR VALUES FROM (9) TO (20) SERVER far",
    )
    (said,) = [one for one in found(empty_database, catalog_of("t_*")) if "old" in one]
    assert "partition old of t_p is a foreign table, so its changes come with completes" in said


def test_database_that_cannot_be_used_is_a_finding(tmp_path: Path) -> None:
    assert tmp_path
    (unusable,) = check_sender("postgresql://nobody@127.0.0.1:1/nowhere", catalog_of("t"))
    assert unusable.level == "error"
    assert "127.0.0.1:1/nowhere cannot be reached" in unusable.problem


def test_database_without_a_free_connection_says_which_limit_is_reached(
    database_factory: DatabaseFactory,
) -> None:
    url = database_factory()
    role = f"many_{url.rpartition('/')[2]}"
    execute(url, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    scheme, _, rest = url.partition("://")
    (full,) = check_sender(f"{scheme}://{role}@{rest.partition('@')[2]}", catalog_of("t"))
    assert "has no free connection" in full.problem
    assert f'too many connections for role "{role}"' in full.problem
    assert "ALTER ROLE ... CONNECTION LIMIT" in full.remedy


def test_one_missing_right_gives_one_finding_and_the_catalogs_own_script(
    database_factory: DatabaseFactory,
) -> None:
    url = database_factory()
    name = url.rpartition("/")[2]
    role = f"seeing role of {name}"
    execute(
        url,
        "CREATE SCHEMA x",
        "CREATE TYPE x.mood AS ENUM ('good')",
        "CREATE TABLE x.t_a (id int PRIMARY KEY, picture text, mood x.mood)",
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT CREATE ON DATABASE "{name}" TO "{role}"',
        f'GRANT ALL ON x.t_a TO "{role}"',
        f'GRANT SET ON PARAMETER session_replication_role TO "{role}"',
    )
    scheme, _, rest = url.partition("://")
    as_role = f"{scheme}://{role.replace(' ', '%20')}@{rest.partition('@')[2]}"
    rules = {"media_columns": ["picture"], "reset_on_change": {"mood": "good"}}
    catalog = catalog_of("x.t_*", table={"x.t_a": rules})
    for side, check in (("sender", check_sender), ("receiver", check_receiver)):
        (usage,) = check(as_role, catalog)
        assert usage.problem == "schema x gives this role no USAGE"
        assert f"or run the output of `ar-sync grants {side}`, or " in usage.remedy
        assert usage.remedy.endswith(f"{side}_role.sql with the catalog's variables")
    execute(url, usage.sql, "ALTER TABLE x.t_a ENABLE ROW LEVEL SECURITY")
    for check in (check_sender, check_receiver):
        (hidden,) = check(as_role, catalog)
        assert "by row level security" in hidden.problem
