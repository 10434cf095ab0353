"""Values under a rule do not leave the sender by another name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.sync.dump.known_rules import RULED_FILE, ruled_before
from ar_sync_pipeline.sync.dump.reading import Reading
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline.sync.watch.database_findings import check_sender
from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts, table

Rules = Mapping[str, Sequence[str] | Mapping[str, object]]
KEEP_U: Rules = {"exclude": ["u"]}
T_A = (
    "CREATE TABLE t_a (id int PRIMARY KEY, v text, u text, g text GENERATED ALWAYS AS (u) STORED)",
    "INSERT INTO t_a SELECT n, n, 'secret ' || n FROM generate_series(1, 5) n",
)
T_B = ("CREATE TABLE t_b (id int PRIMARY KEY, v text, u text)", "INSERT INTO t_b VALUES (1, 1, 1)")
T_P = (
    "CREATE TABLE t_p (id int PRIMARY KEY, u text) PARTITION BY RANGE (id)",
    "CREATE TABLE t_p1 (u text, id int NOT NULL)",
    "ALTER TABLE t_p ATTACH PARTITION t_p1 FOR VALUES FROM (0) TO (9)",
    "CREATE TABLE t_p2 PARTITION OF t_p FOR VALUES FROM (10) TO (19)",
    "INSERT INTO t_p VALUES (1, 'secret 1'), (11, 'secret 11')",
)


def rules(*left_out: str, **tables: Rules) -> Catalog:
    return catalog(table=tables, exclude=left_out, tables=["t_*", "other.*", "x.*", "y.*"])


def members_in(source: Source) -> set[Path]:
    return {*source.folder.glob("ar_sync_build_*/**/*.zst")}


def refusal(source: Source) -> str:
    """Return the error of a complete; a partial and a check have the same one."""
    before, members = ruled_before(source.folder), members_in(source)
    with pytest.raises(SchemaError) as of_partial:
        source.partial(None)
    with pytest.raises(SchemaError) as of_complete:
        source.complete()
    assert str(of_partial.value) == str(of_complete.value)
    assert members_in(source) == members
    found = check_sender(source.url, source.catalog, before)
    assert str(of_complete.value) in map(str, found)
    assert ruled_before(source.folder) == before
    return str(of_complete.value)


def accepted(source: Source, changed: Catalog) -> dict[str, tuple[str, ...]]:
    """Return the columns that are sent of each table."""
    source.catalog = changed
    before = ruled_before(source.folder)
    assert not [f for f in check_sender(source.url, changed, before) if "a rule" in str(f)]
    return {one.name: tuple(c.name for c in one.columns) for one in source.complete().tables}


def changed_after_a_dump(
    source: Source, tables: tuple[str, ...], kept: Catalog, *changes: str
) -> str:
    source.run(*tables)
    source.catalog, source.pseudonym_key = kept, "no secret"
    source.complete()
    source.run(*changes)
    return refusal(source)


@pytest.mark.parametrize(
    ("statement", "rest"),
    [("DETACH PARTITION t_p1", "table t_p1"), ("DETACH PARTITION t_p2", "table t_p2")],
)
def test_detached_partition_is_refused_until_the_catalog_decides(
    source: Source, statement: str, rest: str
) -> None:
    kept = rules(t_p=KEEP_U)
    error = changed_after_a_dump(source, T_P, kept, f"ALTER TABLE t_p {statement}")
    assert f"had rules for u (`exclude`) of table t_p, and these values are now in u of {rest}" in (
        error
    )
    name = rest.removeprefix("table ")
    assert f"`exclude` or `mask` in [table.{name}]" in error
    assert f'add "{name}" to `exclude`' in error
    assert f'add "u" to `approved_columns` in [table.{name}]' in error
    assert accepted(source, rules("t_p?", t_p=KEEP_U)) == {"t_p": ("id",)}
    assert row_counts(source.complete()) == {"t_p": 1}, "the partition that is still attached"
    assert accepted(source, rules(t_p=KEEP_U, **{name: KEEP_U}))[name] == ("id",)
    approved = rules(t_p=KEEP_U, **{name: {"approved_columns": ["u"]}})
    assert set(accepted(source, approved)[name]) == {"id", "u"}
    # Once sent, they are no longer under a rule.
    assert set(accepted(source, kept)[name]) == {"id", "u"}


def test_partitions_that_are_detached_at_once_are_named_in_one_message(source: Source) -> None:
    kept = rules(t_p={"mask": {"u": "null"}})
    detach = [f"ALTER TABLE t_p DETACH PARTITION t_p{n}" for n in (1, 2)]
    error = changed_after_a_dump(source, T_P, kept, *detach)
    assert "rules for u (`mask`) of table t_p" in error
    assert "of tables t_p1, t_p2, without a rule" in error
    assert 'add "t_p1", "t_p2", or a pattern for them, to `exclude`' in error
    assert accepted(source, rules("t_p?", t_p=KEEP_U)) == {"t_p": ("id",)}


def test_attached_partition_does_not_lose_its_rules(source: Source) -> None:
    tables = (*T_P, "CREATE TABLE t_x (id int NOT NULL, u text)")
    attach = "ALTER TABLE t_p ATTACH PARTITION t_x FOR VALUES FROM (20) TO (29)"
    error = changed_after_a_dump(source, tables, rules(t_x=KEEP_U), attach)
    assert "of table t_x, and these values are now in u of table t_p" in error
    assert accepted(source, rules(t_p=KEEP_U)) == {"t_p": ("id",)}


@pytest.mark.parametrize(
    ("changes", "error", "remedies"),
    [
        (
            ("ALTER TABLE t_a RENAME TO t_old", "CREATE TABLE t_a (LIKE t_old INCLUDING ALL)"),
            "u (`exclude`) of table t_a, and these values are now in u of table t_old",
            {"t_a": KEEP_U, "t_old": KEEP_U},
        ),
        (
            ("ALTER TABLE t_a RENAME u TO u_old", "ALTER TABLE t_a ADD u text"),
            "u (`exclude`) of table t_a, and these values are now in u_old of table t_a, without",
            {"t_a": {"exclude": ["u", "u_old"]}},
        ),
        (
            ("ALTER TABLE t_a RENAME u TO u_old",),
            "now in u_old of table t_a, without a rule: give u_old of table t_a a rule (`exclude`",
            {"t_a": {"exclude": ["u_old"]}},
        ),
        (
            (
                "ALTER TABLE t_a RENAME u TO x",
                "ALTER TABLE t_a RENAME v TO u",
                "ALTER TABLE t_a RENAME x TO v",
            ),
            "u (`exclude`) of table t_a, and these values are now in v of table t_a",
            {"t_a": {"exclude": ["v"]}},
        ),
        (
            ("ALTER TABLE t_a ALTER g DROP EXPRESSION",),
            "g (computed from u, `exclude`) of table t_a, and these values are now in g of",
            {"t_a": {"exclude": ["u", "g"]}},
        ),
        (
            (
                "ALTER TABLE t_a RENAME TO x",
                "ALTER TABLE t_b RENAME TO t_a",
                "ALTER TABLE x RENAME TO t_b",
            ),
            "u (`exclude`) of table t_a, and these values are now in u of table t_b",
            {"t_b": KEEP_U},
        ),
        (
            ("CREATE SCHEMA other", "ALTER TABLE t_a SET SCHEMA other"),
            "u (`exclude`) of table t_a, and these values are now in u of table other.t_a",
            {"other.t_a": KEEP_U},
        ),
    ],
)
def test_values_with_a_new_name_are_refused_until_they_have_a_rule(
    source: Source, changes: tuple[str, ...], error: str, remedies: dict[str, Rules]
) -> None:
    kept = rules(t_a=KEEP_U)
    found = changed_after_a_dump(source, (*T_A, *T_B), kept, *changes)
    assert error in found
    sent = accepted(source, rules(**remedies))
    names = {name for rule in remedies.values() for name in rule["exclude"]}
    assert not any(names & {*columns} for name, columns in sent.items() if name in remedies)


def test_table_in_a_renamed_schema_keeps_its_rules(source: Source) -> None:
    tables = ("CREATE SCHEMA x", "CREATE TABLE x.t_a (id int PRIMARY KEY, u text)")
    kept = rules(**{"x.t_a": KEEP_U})
    error = changed_after_a_dump(source, tables, kept, "ALTER SCHEMA x RENAME TO y")
    assert "of table x.t_a, and these values are now in u of table y.t_a" in error
    assert accepted(source, rules(**{"y.t_a": KEEP_U})) == {"y.t_a": ("id",)}


def test_values_that_come_under_a_weaker_rule_are_refused(source: Source) -> None:
    kept = rules(t_a={"mask": {"u": "null"}}, t_b={"mask": {"u": {"truncate": 3}}})
    swap = ("ALTER TABLE t_a RENAME TO x", "ALTER TABLE t_b RENAME TO t_a")
    error = changed_after_a_dump(source, (*T_A, *T_B), kept, *swap, "ALTER TABLE x RENAME TO t_b")
    assert "u (`mask`) of table t_a, and these values are now in u of table t_b, under another" in (
        error
    )
    swapped = rules(t_b={"mask": {"u": "null"}}, t_a={"mask": {"u": {"truncate": 3}}})
    assert accepted(source, swapped)["t_b"] == ("id", "v", "u")


def test_column_of_a_partition_has_the_number_of_the_partition(source: Source) -> None:
    """`t_p1` has its columns in another order than its table."""
    kept = rules(t_p=KEEP_U)
    error = changed_after_a_dump(
        source, T_P, kept, "ALTER TABLE t_p RENAME u TO w", "ALTER TABLE t_p ADD u text"
    )
    assert "u (`exclude`) of table t_p, and these values are now in w of table t_p," in error
    assert accepted(source, rules(t_p={"exclude": ["u", "w"]})) == {"t_p": ("id",)}


def test_rule_is_not_forgotten_while_the_table_is_not_replicated(source: Source) -> None:
    source.run(*T_A)
    source.catalog = rules(t_a=KEEP_U)
    source.complete()
    source.run("ALTER TABLE t_a RENAME TO a_aside", "CREATE TABLE t_c (id int PRIMARY KEY)")
    source.catalog = rules()
    source.complete()
    source.run("ALTER TABLE a_aside RENAME TO t_new")
    assert "of table t_a, and these values are now in u of table t_new" in refusal(source)


def test_rule_is_not_forgotten_while_the_column_is_one_of_the_receiver(source: Source) -> None:
    source.run(*T_B)
    source.catalog = rules(t_b=KEEP_U)
    source.complete()
    source.run("ALTER TABLE t_b RENAME u TO w")
    assert accepted(source, rules(t_b={"receiver_columns": ["w"]})) == {"t_b": ("id", "v")}
    source.run("ALTER TABLE t_b RENAME w TO z")
    assert "w (`exclude`) of table t_b, and these values are now in z of table t_b" in (
        refusal(source)
    )
    accepted(source, rules(t_b={"approved_columns": ["z"]}))


@pytest.mark.parametrize(
    "changed",
    [
        rules(),
        rules(t_a={"mask": {"u": "pseudonym"}}),
        rules(t_a={"receiver_columns": ["u"]}),
        rules("t_a"),
    ],
)
def test_rule_that_is_removed_for_the_same_name_was_removed_on_purpose(
    source: Source, changed: Catalog
) -> None:
    source.run(*T_A, *T_B)
    source.catalog, source.pseudonym_key = rules(t_a=KEEP_U), "no secret"
    source.complete()
    accepted(source, changed)
    if changed.rules("t_a").column_rules or not changed.replicates("t_a"):
        return
    source.run("ALTER TABLE t_a RENAME u TO u_new")
    if not changed.rules("t_a").receiver_columns:
        assert "u_new" in accepted(source, changed)["t_a"]


@pytest.mark.parametrize(
    "statements",
    [
        ("VACUUM FULL t_a", "TRUNCATE t_p", "VACUUM FULL t_p", "REINDEX TABLE t_a"),
        ("CREATE TABLE t_p3 PARTITION OF t_p FOR VALUES FROM (20) TO (29)",),
        ("DROP TABLE t_p1",),
        ("ALTER TABLE t_p DETACH PARTITION t_p1", "ALTER TABLE t_p1 RENAME TO aside"),
        (
            "ALTER TABLE t_p DETACH PARTITION t_p1",
            "ALTER TABLE t_p ATTACH PARTITION t_p1 FOR VALUES FROM (0) TO (9)",
        ),
        ("ALTER TABLE t_a RENAME v TO w", "ALTER TABLE t_b RENAME TO t_c"),
        ("ALTER TABLE t_a DROP u CASCADE", "ALTER TABLE t_a ADD u text"),
        (
            "DROP TABLE t_a",
            "CREATE TABLE t_new (id int PRIMARY KEY, v text, u text)",
            "ALTER TABLE t_new RENAME TO t_a",
        ),
        ("ALTER TABLE t_a ALTER u TYPE varchar(99)", "ALTER TABLE t_a ALTER u SET NOT NULL"),
        ("CREATE TABLE t_c (id int PRIMARY KEY, u text)", "CREATE TABLE t_all (u text, id int)"),
        ("CREATE VIEW t_view AS SELECT * FROM t_a",),
    ],
)
def test_ordinary_migration_is_not_refused(source: Source, statements: tuple[str, ...]) -> None:
    ruled = [one.replace("g text GENERATED ALWAYS AS (u) STORED", "g text") for one in T_A]
    source.run(*ruled, *T_B, *T_P)
    source.catalog = rules(t_a=KEEP_U, t_p={"mask": {"u": "null"}})
    source.complete()
    source.run(*statements)
    source.complete()


class TestTablesThatTheCatalogExcludes:
    """A table that `exclude` keeps back is under a rule as a whole."""

    SECRET = ("CREATE TABLE t_s (id int PRIMARY KEY, v text)", "INSERT INTO t_s VALUES (1, 'x')")

    @pytest.mark.parametrize("pattern", ["t_s", "t_s*"])
    def test_renamed_one_is_refused(self, source: Source, pattern: str) -> None:
        rename = "ALTER TABLE t_s RENAME TO t_v"
        error = changed_after_a_dump(source, (*T_B, *self.SECRET), rules(pattern), rename)
        assert "kept back table t_s, and its rows are now in table t_v, which only a pattern" in (
            error
        )
        assert 'add "t_v" to `exclude`, or, if they may be sent, add "t_v" to `tables`' in error
        accepted(source, rules(pattern, "t_v"))
        named = {"tables": ("t_*", "t_v")}
        assert "t_v" in accepted(source, rules(pattern).model_copy(update=named))
        assert "t_v" in accepted(source, rules(pattern))

    def test_detached_partition_of_one_is_refused(self, source: Source) -> None:
        detach = "ALTER TABLE t_p DETACH PARTITION t_p1"
        error = changed_after_a_dump(source, (*T_B, *T_P), rules("t_p"), detach)
        assert "kept back table t_p, and its rows are now in table t_p1" in error
        accepted(source, rules("t_p", "t_p1"))

    def test_one_that_is_included_on_purpose_is_sent(self, source: Source) -> None:
        source.run(*T_B, *self.SECRET)
        source.catalog = rules("t_s")
        source.complete()
        assert "t_s" in accepted(source, rules())

    def test_one_that_replaces_a_replicated_table_is_sent(self, source: Source) -> None:
        source.run(*T_B, "CREATE TABLE t_b_new (LIKE t_b INCLUDING ALL)")
        source.catalog = rules("*_new", "*_old")
        source.complete()
        source.run("ALTER TABLE t_b RENAME TO t_b_old", "ALTER TABLE t_b_new RENAME TO t_b")
        assert row_counts(source.complete()) == {"t_b": 0}

    def test_partition_that_is_attached_to_a_replicated_table_is_sent(self, source: Source) -> None:
        source.run(*T_P, "CREATE TABLE t_p_new (LIKE t_p)", "INSERT INTO t_p_new VALUES (20, 'x')")
        source.catalog = rules("*_new")
        source.complete()
        source.run("ALTER TABLE t_p ATTACH PARTITION t_p_new FOR VALUES FROM (20) TO (29)")
        assert row_counts(source.complete()) == {"t_p": 3}

    def test_partition_that_is_attached_to_a_new_table_is_refused(self, source: Source) -> None:
        source.run(*T_B, *self.SECRET)
        source.catalog = rules("t_s")
        source.complete()
        source.run(
            "CREATE TABLE t_q (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
            "ALTER TABLE t_q ATTACH PARTITION t_s FOR VALUES FROM (0) TO (9)",
        )
        assert "kept back table t_s, and its rows are now in table t_q" in refusal(source)

    def test_pattern_for_the_new_names_is_a_decision(self, source: Source) -> None:
        """A staging table that gets a dated name each day."""
        source.run(*T_B, "CREATE TABLE t_load_tmp (id int PRIMARY KEY)")
        source.catalog = rules("*_tmp")
        source.complete()
        source.run("ALTER TABLE t_load_tmp RENAME TO t_sales_1")
        assert 'narrower pattern there that does not match "t_load_tmp"' in refusal(source)
        named = {"tables": ("t_*", "t_sales_*")}
        source.catalog = rules("*_tmp").model_copy(update=named)
        assert "t_sales_1" in row_counts(source.complete())
        source.run("CREATE TABLE t_load_tmp (id int PRIMARY KEY)")
        source.complete()
        source.run("ALTER TABLE t_load_tmp RENAME TO t_sales_2")
        assert "t_sales_2" in row_counts(source.complete())

    def test_one_that_replaces_a_table_dropped_before_an_earlier_dump_is_sent(
        self, source: Source
    ) -> None:
        """Whether a dump falls between the two statements is chance."""
        source.run(*T_B, "CREATE TABLE t_b_new (LIKE t_b INCLUDING ALL)", *T_P)
        source.catalog = rules("*_new", "*_old")
        source.complete()
        source.run("DROP TABLE t_b")
        assert "t_b" not in row_counts(source.complete())
        source.run("ALTER TABLE t_b_new RENAME TO t_b")
        assert row_counts(source.complete())["t_b"] == 0


class TestCopies:
    """A copy has no trace in the system catalogs; a new table may look like one."""

    @pytest.mark.parametrize("name", ["t_b_2024", "t_old_t_b"])
    def test_new_table_with_columns_and_name_of_another_is_refused(
        self, source: Source, name: str
    ) -> None:
        copy = f"CREATE TABLE {name} AS SELECT * FROM t_b"
        error = changed_after_a_dump(source, T_B, rules(t_b=KEEP_U), copy)
        assert f"table {name} may be a copy of t_b, with its columns and its name" in error
        accepted(source, rules(t_b=KEEP_U, **{name: KEEP_U}))
        accepted(source, rules(t_b=KEEP_U, **{name: {"approved_columns": ["u"]}}))

    @pytest.mark.parametrize("lost", [RULED_FILE, SENT_FILE, "both"])
    def test_detached_partition_is_refused_after_a_loss_of_a_journal(
        self, source: Source, lost: str
    ) -> None:
        source.run(*T_P)
        source.catalog = rules(t_p=KEEP_U)
        source.complete()
        for file in (RULED_FILE, SENT_FILE) if lost == "both" else (lost,):
            (source.folder / file).unlink()
        source.run("ALTER TABLE t_p DETACH PARTITION t_p1")
        assert "u of table t_p1" in refusal(source)

    def test_table_that_was_sent_before_is_not_refused(self, source: Source) -> None:
        source.run(*T_B, "CREATE TABLE t_b_more (LIKE t_b INCLUDING ALL)")
        source.complete()
        source.catalog = rules(t_b=KEEP_U)
        assert table(source.complete(), "t_b_more") is not None

    def test_table_that_was_sent_before_and_is_created_again_is_not_refused(
        self, source: Source
    ) -> None:
        daily = "CREATE TABLE t_b_daily (LIKE t_b INCLUDING ALL)"
        source.run(*T_B, daily)
        source.complete()
        source.catalog = rules(t_b=KEEP_U)
        source.run("DROP TABLE t_b_daily")
        source.complete()
        source.run(daily)
        assert table(source.complete(), "t_b_daily") is not None

    def test_table_that_had_rules_before_is_refused_without_them(self, source: Source) -> None:
        daily = "CREATE TABLE t_b_daily (LIKE t_b INCLUDING ALL)"
        source.run(*T_B, daily)
        source.catalog = rules(t_b=KEEP_U, t_b_daily=KEEP_U)
        source.complete()
        source.run("DROP TABLE t_b_daily")
        source.catalog = rules(t_b=KEEP_U)
        source.complete()
        source.run(daily)
        assert "table t_b_daily may be a copy of t_b" in refusal(source)

    def test_copy_of_tables_with_one_name_is_found_once(self, source: Source) -> None:
        """Of many schemas with equal tables, one without rules is one error."""
        new = "(id int PRIMARY KEY, v text, u text)"
        schemas = (f"CREATE SCHEMA {s} CREATE TABLE t_b {new}" for s in "xy")
        source.run(*T_B, *schemas, "CREATE SCHEMA other")
        ruled = dict.fromkeys(("t_b", "x.t_b", "y.t_b"), KEEP_U)
        kept = rules(**ruled)
        statements = (f"CREATE TABLE other.t_b {new}", f"CREATE TABLE y.t_b_2 {new}")
        refused = changed_after_a_dump(source, (), kept, *statements)
        assert "table other.t_b may be a copy of t_b, with" in refused
        before = ruled_before(source.folder)
        found = [str(one) for one in check_sender(source.url, kept, before)]
        (other, in_y) = [text for text in found if "may be a copy" in text]
        assert other == refused
        assert "table y.t_b_2 may be a copy of y.t_b, with" in in_y
        accepted(source, rules("other.*", "*.t_b_2", **ruled))

    def test_each_rule_of_a_table_that_is_copied_needs_a_decision(self, source: Source) -> None:
        """Also where tables of one name have different rules."""
        source.run("CREATE SCHEMA x CREATE TABLE t_b (id int PRIMARY KEY, v text, u text)", *T_B)
        source.catalog = rules()
        source.complete()
        kept = {"t_b": KEEP_U, "x.t_b": {"exclude": ["v"]}}
        source.catalog = rules(**kept)
        source.complete()
        source.run("CREATE TABLE x.t_b_2 AS SELECT * FROM t_b")
        assert "table x.t_b_2 may be a copy of x.t_b" in refusal(source)
        source.catalog = rules(**kept, **{"x.t_b_2": {"exclude": ["v"]}})
        assert "table x.t_b_2 may be a copy of t_b" in refusal(source)

    def test_table_that_inherits_is_not_refused(self, source: Source) -> None:
        """Check `inherited_rules` warns of it."""
        source.run(*T_B)
        source.catalog = rules(t_b=KEEP_U)
        source.complete()
        source.run("CREATE TABLE t_b_child (PRIMARY KEY (id)) INHERITS (t_b)")
        source.complete()
        source.run("CREATE TABLE t_b_child_2 (PRIMARY KEY (id)) INHERITS (t_b_child)")
        source.complete()
        source.run("ALTER TABLE t_b_child NO INHERIT t_b")
        source.complete()


def test_numbers_of_another_cluster_mean_other_objects(source: Source) -> None:
    source.run(*T_A, *T_B)
    source.catalog = rules(t_a=KEEP_U)
    source.complete()
    file = source.folder / RULED_FILE
    before = ruled_before(source.folder).values
    assert before is not None
    other = before.model_copy(update={"system_identifier": "1"})
    file.write_text(other.model_dump_json())
    source.run("ALTER TABLE t_a RENAME v TO w")
    source.complete()
    assert ruled_before(source.folder).values == before


def test_number_that_another_table_uses_again_is_not_the_same_table(source: Source) -> None:
    source.run(*T_A, *T_B)
    source.catalog = rules(t_a=KEEP_U)
    source.complete()
    before = ruled_before(source.folder).values
    assert before is not None
    (part,) = before.parts
    other = part.model_copy(update={"created_by": "3", "label": "t_x"})
    text = before.model_copy(update={"parts": (other,)}).model_dump_json()
    (source.folder / RULED_FILE).write_text(text)
    source.catalog = rules()
    source.complete()


def test_maintenance_does_not_make_it_another_table(source: Source) -> None:
    source.run(*T_A, "CREATE ROLE owner_of_t_a")
    source.catalog = rules(t_a=KEEP_U)
    source.complete()
    source.run(
        "VACUUM FULL t_a",
        "ALTER TABLE t_a OWNER TO owner_of_t_a",
        "GRANT SELECT (id, xmin) ON t_a TO PUBLIC",
        "REVOKE ALL ON t_a FROM PUBLIC",
        "VACUUM FULL pg_attribute",
        "VACUUM FREEZE pg_attribute",
        "ALTER TABLE t_a RENAME u TO w",
    )
    try:
        assert "are now in w of table t_a" in refusal(source)
    finally:
        source.run("DROP OWNED BY owner_of_t_a CASCADE", "DROP ROLE owner_of_t_a")


@pytest.mark.parametrize(
    ("statement", "name"), [("RENAME u TO w", "t_b"), ("RENAME TO t_c", "t_c")]
)
def test_decision_that_is_taken_back_after_a_failed_dump_has_no_effect(
    source: Source, statement: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent by it."""
    changed_after_a_dump(source, T_B, rules(t_b=KEEP_U), f"ALTER TABLE t_b {statement}")
    column = "w" if name == "t_b" else "u"
    approved = rules(**{name: {"approved_columns": [column]}})
    for decision in (approved, rules(**{name: {"exclude": [column]}})):
        source.catalog = decision
        with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
            patched.setattr(Reading, "remember", killed)
            source.complete()
        source.catalog = rules()
        assert f"u (`exclude`) of table t_b, and these values are now in {column}" in refusal(
            source
        )
    accepted(source, approved)
    accepted(source, rules())


def test_rules_of_a_failed_dump_count(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.run(*T_B)
    source.catalog = rules(t_b=KEEP_U)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(Reading, "remember", killed)
        source.complete()
    source.run("ALTER TABLE t_b RENAME u TO w")
    assert "these values are now in w of table t_b" in refusal(source)


def killed(*_: object) -> None:
    raise RuntimeError("killed")


def test_damaged_file_is_no_error(source: Source) -> None:
    source.run(*T_A)
    source.catalog = rules(t_a=KEEP_U)
    (source.folder / RULED_FILE).write_text("{")
    source.complete()
    assert ruled_before(source.folder).values is not None


@pytest.mark.parametrize("grant", ["", " (id, v, u_old, u)"])
def test_missing_right_on_such_values_is_not_the_message(
    source: Source, grant: str, role_of: Callable[[Source], Source]
) -> None:
    """Its remedy would let the values leave: `ar-sync grants` follows the catalog's names."""
    source.run(*T_A)
    source.catalog = rules(t_a=KEEP_U)
    reader = role_of(source)
    reader.complete()
    source.run("ALTER TABLE t_a RENAME u TO u_old", "ALTER TABLE t_a ADD u text")
    if grant:
        source.run(f'GRANT SELECT{grant} ON t_a TO "{reader_name(source)}"')
    assert "are now in u_old of table t_a" in refusal(reader)
    found = [str(f) for f in check_sender(reader.url, reader.catalog, ruled_before(reader.folder))]
    assert not [text for text in found if "GRANT" in text]


def reader_name(source: Source) -> str:
    return f"reader of {source.url.rpartition('/')[2]}"


@pytest.fixture
def role_of() -> Callable[[Source], Source]:
    """Return a function that makes a role with rights as `ar-sync grants sender` gives them."""

    def make(source: Source) -> Source:
        name = reader_name(source)
        source.run(f'CREATE ROLE "{name}" LOGIN', f'GRANT SELECT (id, v, xmin) ON t_a TO "{name}"')
        url = source.url.replace("//postgres@", f"//{name.replace(' ', '%20')}@")
        return Source(url, source.folder, source.catalog)

    return make
