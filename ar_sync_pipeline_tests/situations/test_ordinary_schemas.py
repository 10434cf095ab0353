"""Schemas that are common elsewhere: of PHP and MySQL, of older servers, with strict checks."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.exchanged_values import swap
from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    EVERY_MODE,
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

TWO = (Mode.SUPERUSER, Mode.LEAST)

VALUES = (
    Situation(
        # PHP's ip2long() was signed. Each of these changes keeps what hashint8extended folds to.
        "signed_addresses_become_unsigned",
        "CREATE TABLE t_a (id int PRIMARY KEY, ip bigint, other bigint)",
        rows="INSERT INTO t_a VALUES (1, -1062731519, 1), (2, -1, 8589934593), (3, 5, NULL)",
        steps=(
            complete("UPDATE t_a SET ip = ip + 4294967296 WHERE ip < 0"),
            complete("UPDATE t_a SET other = 4294967298 WHERE id = 2"),
            complete("UPDATE t_a SET ip = other, other = ip WHERE id = 1"),
            complete(receiver="UPDATE t_a SET ip = ip - 4294967296 WHERE id = 2"),
        ),
    ),
    Situation(
        "enum_with_an_empty_label",
        "CREATE TYPE gender AS ENUM ('', 'f', 'm');"
        "CREATE TABLE t_a (id int PRIMARY KEY, g gender NOT NULL DEFAULT '', u gender UNIQUE,"
        " gs gender[])",
        rows="INSERT INTO t_a VALUES (1, '', '', '{\"\"}'), (2, 'f', 'f', NULL)",
        steps=(
            partial("UPDATE t_a SET g = 'm' WHERE id = 1; INSERT INTO t_a VALUES (3)"),
            partial(
                "UPDATE t_a SET u = NULL WHERE id = 1; UPDATE t_a SET u = '' WHERE id = 2;"
                "UPDATE t_a SET u = 'f', gs = '{f,\"\"}' WHERE id = 1"
            ),
            complete("UPDATE t_a SET g = ''"),
        ),
        modes=TWO,
    ),
    Situation(
        "empty_label_that_only_the_sender_has",
        "CREATE TYPE gender AS ENUM ('f'); CREATE TABLE t_a (id int PRIMARY KEY, g gender)",
        rows="INSERT INTO t_a VALUES (1, 'f')",
        steps=(
            complete(
                "ALTER TYPE gender ADD VALUE '';;INSERT INTO t_a VALUES (2, '')",
                waits_for=["gender lacks the label ''"],
                then="ALTER TYPE gender ADD VALUE ''",
            ),
        ),
    ),
)

STRICT = (
    "CREATE FUNCTION rut_ok(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN"
    " IF $1 !~ '^[0-9]{3}$' OR (SELECT sum(d::int) FROM regexp_split_to_table($1, '') d) % 10 <> 0"
    " THEN RAISE EXCEPTION 'invalid RUT %', $1; END IF; RETURN true; END$$;"
)
RUTS = "INSERT INTO t_a VALUES (1, '730'), (2, '550'), (3, '910')"
EXCHANGED = (
    partial(swap("rut", "730", "550").replace("zz", "370"), finds=[ask("SELECT 1", (1,))]),
    partial("DELETE FROM t_a WHERE id = 3; INSERT INTO t_a VALUES (4, '910')", deletes={"t_a": 1}),
    complete(
        "DELETE FROM t_a WHERE id = 4; INSERT INTO t_a VALUES (5, '910');"
        + swap("rut", "550", "730").replace("zz", "370")
    ),
)

PLACEHOLDERS = (
    Situation(
        "check_whose_function_raises",
        STRICT + "CREATE TABLE t_a (id int PRIMARY KEY, rut text NOT NULL UNIQUE"
        " CHECK (rut_ok(rut)))",
        rows=RUTS,
        steps=EXCHANGED,
        modes=EVERY_MODE,
    ),
    Situation(
        "domain_whose_function_raises",
        STRICT + "CREATE DOMAIN rut AS text CHECK (rut_ok(VALUE));"
        "CREATE TABLE t_a (id int PRIMARY KEY, rut rut NOT NULL UNIQUE)",
        rows=RUTS,
        steps=EXCHANGED,
        modes=EVERY_MODE,
    ),
    Situation(
        "index_whose_function_raises",
        STRICT + "CREATE TABLE t_a (id int PRIMARY KEY, rut text NOT NULL UNIQUE);"
        "CREATE INDEX ON t_a (rut_ok(rut))",
        rows=RUTS,
        steps=EXCHANGED,
        modes=EVERY_MODE,
    ),
    Situation(
        "value_that_barely_fits_into_an_index",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE)",
        rows="INSERT INTO t_a SELECT k, translate(string_agg(md5(k || '.' || n), ''),"
        " '0123456789', 'ghijklmnop') FROM generate_series(1, 3) k, generate_series(1, 84) n"
        " GROUP BY k",
        steps=(
            partial(
                "CREATE TABLE us AS TABLE t_a; UPDATE t_a SET u = 'z' WHERE id = 1;"
                "UPDATE t_a SET u = (SELECT u FROM us WHERE id = 1) WHERE id = 2;"
                "UPDATE t_a SET u = (SELECT u FROM us WHERE id = 2) WHERE id = 1; DROP TABLE us"
            ),
        ),
        modes=TWO,
    ),
)

CI = (
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
    "CREATE COLLATION c_like (provider = icu, locale = 'und');"
)
NAMES = "INSERT INTO t_a VALUES (1, 'Ann'), (2, 'Bob'), (3, 'Cid')"
OTHER_CASE = (
    partial("DELETE FROM t_a WHERE id = 3; INSERT INTO t_a VALUES (4, 'cid')", deletes={"t_a": 1}),
    partial(
        "UPDATE t_a SET name = 'x' WHERE id = 1; UPDATE t_a SET name = 'aNN' WHERE id = 2;"
        "UPDATE t_a SET name = 'bOB' WHERE id = 1"
    ),
    complete("DELETE FROM t_a WHERE id = 4; INSERT INTO t_a VALUES (5, 'CID')"),
    complete("UPDATE t_a SET name = upper(name)", deletes={}),
)


def without_case(name: str, index: str) -> Situation:
    return Situation(
        f"index_without_case_{name}",
        CI + f"CREATE TABLE t_a (id int PRIMARY KEY, name text NOT NULL); {index}",
        rows=NAMES,
        steps=OTHER_CASE,
        modes=TWO,
    )


COLLATIONS = (
    without_case("of_a_column", "CREATE UNIQUE INDEX ON t_a (name COLLATE ci)"),
    without_case("of_an_expression", "CREATE UNIQUE INDEX ON t_a ((name || '!') COLLATE ci)"),
    without_case("inside_an_expression", "CREATE UNIQUE INDEX ON t_a ((name COLLATE ci || '!'))"),
    without_case("with_a_predicate", "CREATE UNIQUE INDEX ON t_a (name COLLATE ci) WHERE id > 0"),
    without_case("of_two", "CREATE UNIQUE INDEX ON t_a ((1), name COLLATE ci, (2), (id > 0))"),
    without_case(
        "of_an_exclusion",
        "ALTER TABLE t_a ADD EXCLUDE USING btree (name COLLATE ci WITH =)",
    ),
    Situation(
        # Both names may be there, and the collation of the column calls them equal.
        "index_with_case_over_a_column_without",
        CI + "CREATE TABLE t_a (id int PRIMARY KEY, name text COLLATE ci);"
        'CREATE UNIQUE INDEX ON t_a (name COLLATE "C");'
        "CREATE UNIQUE INDEX ON t_a ((name || '!') COLLATE c_like)",
        rows=NAMES,
        steps=(
            partial("INSERT INTO t_a VALUES (4, 'ann')"),
            partial("UPDATE t_a SET name = 'bob' WHERE id = 3"),
            complete("INSERT INTO t_a VALUES (5, 'BOB')", deletes={}),
        ),
        modes=TWO,
    ),
    Situation(
        "key_without_case_that_is_no_primary_key",
        CI + "CREATE TABLE t_a (name text NOT NULL, v int);"
        "CREATE UNIQUE INDEX ON t_a (name COLLATE ci)",
        rows="INSERT INTO t_a VALUES ('Ann', 1), ('Bob', 2)",
        steps=(
            partial("UPDATE t_a SET v = 3 WHERE name = 'Ann'"),
            complete("UPDATE t_a SET name = 'ANN' WHERE name = 'Ann'"),
        ),
        modes=TWO,
    ),
)

# As version 13 stored it, or a dump of it is restored, and as the migrations make it since then.
OLD_TRIM, TRIM = "lower(btrim(u))", "lower(trim(u))"
OLD_YEAR, YEAR = "date_part('year', at)", "extract(year FROM at)"

TEXTS = (
    Situation(
        "domain_of_an_older_server",
        "CREATE DOMAIN title AS text CONSTRAINT filled CHECK (btrim(VALUE) <> '');"
        "CREATE DOMAIN born AS date CONSTRAINT late CHECK (date_part('year', VALUE) > 1900);"
        "CREATE TABLE t_a (id int PRIMARY KEY, n title, b born)",
        receiver="ALTER DOMAIN title DROP CONSTRAINT filled;"
        "ALTER DOMAIN title ADD CONSTRAINT filled CHECK (trim(VALUE) <> '') NOT VALID;"
        "ALTER DOMAIN born DROP CONSTRAINT late;"
        "ALTER DOMAIN born ADD CONSTRAINT late CHECK (extract(year FROM VALUE) > 1900)",
        rows="INSERT INTO t_a VALUES (1, 'a', '2000-01-01')",
        steps=(
            partial("INSERT INTO t_a VALUES (2, 'b', '2001-01-01')"),
            complete("UPDATE t_a SET n = 'c' WHERE id = 1"),
        ),
    ),
    Situation(
        "domain_that_refuses_what_the_sender_has",
        "CREATE DOMAIN title AS text CONSTRAINT filled CHECK (VALUE <> '');"
        "CREATE TABLE t_a (id int PRIMARY KEY, n title, ns title[])",
        rows="INSERT INTO t_a VALUES (1, 'a')",
        steps=(
            # Nothing violates it yet.
            partial("ALTER DOMAIN title DROP CONSTRAINT filled;;INSERT INTO t_a VALUES (2, 'b')"),
            partial(
                "INSERT INTO t_a VALUES (3, 'c', '{\"\"}')",
                waits_for=["title", "drop or loosen filled at the receiver"],
                then="ALTER DOMAIN title DROP CONSTRAINT filled",
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "unique_index_of_an_older_server",
        f"CREATE TABLE t_a (id int PRIMARY KEY, u text); CREATE UNIQUE INDEX i ON t_a ({OLD_TRIM})",
        receiver=f"DROP INDEX i; CREATE UNIQUE INDEX i ON t_a ({TRIM})",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b')",
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (3, ' A ')",
                deletes={"t_a": 1},
            ),
        ),
    ),
    Situation(
        "unique_index_in_words_that_are_not_known_as_equal",
        "CREATE TABLE t_a (id int PRIMARY KEY, at date);"
        f"CREATE UNIQUE INDEX i ON t_a (({OLD_YEAR}))",
        receiver=f"DROP INDEX i; CREATE UNIQUE INDEX i ON t_a (({YEAR}))",
        rows="INSERT INTO t_a VALUES (1, '2001-01-01'), (2, '2002-02-02')",
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (3, '2001-03-03')",
                waits_for=["if the sender has it too in other words", "drop i at the receiver"],
                then=f"DROP INDEX i; CREATE UNIQUE INDEX i ON t_a (({OLD_YEAR}))",
                deletes={"t_a": 1},
            ),
        ),
    ),
    Situation(
        "unique_index_of_each_hash_partition",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text) PARTITION BY HASH (id);"
        + "".join(
            f"CREATE TABLE t_a{n} PARTITION OF t_a FOR VALUES WITH (MODULUS 2, REMAINDER {n});"
            f"CREATE UNIQUE INDEX ON t_a{n} (u);"
            for n in range(2)
        ),
        rows="INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(1, 20) n",
        steps=(
            partial(
                "CREATE TABLE old AS SELECT n.id AS new, o.id, o.u FROM t_a o JOIN LATERAL"
                " (SELECT id FROM generate_series(21, 99) id WHERE satisfies_hash_partition("
                "'t_a'::regclass, 2, 0, id) = satisfies_hash_partition('t_a'::regclass, 2, 0, o.id)"
                " LIMIT 1) n ON true WHERE o.id = 1; DELETE FROM t_a WHERE id = 1;"
                "INSERT INTO t_a SELECT new, u FROM old; DROP TABLE old",
                deletes={"t_a": 1},
            ),
        ),
        modes=TWO,
    ),
)

REMEDIES = (
    Situation(
        "partition_that_only_the_sender_has",
        "CREATE TABLE t_a (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        rows="INSERT INTO t_a VALUES (1, '2026-01-05')",
        steps=(
            partial(
                "CREATE TABLE t_a_2 PARTITION OF t_a FOR VALUES FROM ('2026-02-01') TO"
                " ('2026-03-01'); INSERT INTO t_a VALUES (2, '2026-02-05')",
                waits_for=["t_a", "create the partition of these rows at the receiver"],
                then="CREATE TABLE t_a_2 PARTITION OF t_a FOR VALUES FROM ('2026-02-01') TO"
                " ('2026-03-01')",
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "check_that_is_not_valid_on_both_sides",
        "CREATE TABLE t_a (id int PRIMARY KEY, v int)",
        rows="INSERT INTO t_a VALUES (1, -1), (2, 2)",
        own="DELETE FROM t_a; ALTER TABLE t_a ADD CONSTRAINT positive CHECK (v > 0) NOT VALID",
        steps=(
            complete(
                "ALTER TABLE t_a ADD CONSTRAINT positive CHECK (v > 0) NOT VALID",
                waits_for=["drop or loosen positive at the receiver", "NOT VALID"],
                then="ALTER TABLE t_a DROP CONSTRAINT positive",
            ),
        ),
        modes=TWO,
    ),
)


@cases(VALUES)
@pytest.mark.long
def test_changes_of_common_values_arrive(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(PLACEHOLDERS)
@pytest.mark.long
def test_values_move_where_every_placeholder_is_refused(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(COLLATIONS)
def test_unique_values_are_compared_as_their_index_does(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(TEXTS)
def test_definitions_of_older_servers_are_no_difference(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(REMEDIES)
def test_a_refused_row_names_a_remedy_that_works(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
