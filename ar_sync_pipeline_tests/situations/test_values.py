"""Values that the database calls equal and that are not the same, and values of every type."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

TWO = (Mode.SUPERUSER, Mode.LEAST)
ICU = (
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
    "CREATE COLLATION ai (provider = icu, locale = 'und-u-ks-level1', deterministic = false);"
)

COLLATIONS = (
    Situation(
        "S6_plain_column_changes_its_case",
        ICU + "CREATE TABLE t_a (id int PRIMARY KEY, email text COLLATE ci, name text COLLATE ai)",
        rows="INSERT INTO t_a SELECT n, 'v' || n, 'cafe' FROM generate_series(1, 9) n",
        steps=(
            complete(
                "UPDATE t_a SET email = upper(email) WHERE id = 5",
                finds=[ask("SELECT email::bytea FROM t_a WHERE id = 5", (b"V5",))],
            ),
            partial("UPDATE t_a SET name = 'café', email = upper(email) WHERE id < 3"),
            complete("UPDATE t_a SET name = 'CAFÉ' WHERE id = 7"),
        ),
        modes=TWO,
    ),
    Situation(
        "unique_column_changes_its_case",
        ICU + "CREATE TABLE t_a (id int PRIMARY KEY, u text COLLATE ci UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        receiver="CREATE TABLE own (id serial PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE)",
        own="INSERT INTO own (a) SELECT id FROM t_a",
        steps=(
            partial("UPDATE t_a SET u = upper(u)", finds=[ask("SELECT count(*) FROM own", (3,))]),
            # Exchanged, and with another case each.
            partial(
                "UPDATE t_a SET u = 'zz' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
                "UPDATE t_a SET u = 'B' WHERE id = 1",
                finds=[ask("SELECT count(*) FROM own", (3,))],
            ),
            partial(
                "DELETE FROM t_a WHERE id = 3; INSERT INTO t_a VALUES (4, 'C')", deletes={"t_a": 1}
            ),
            complete("UPDATE t_a SET u = 'A' WHERE id = 2"),
        ),
        modes=TWO,
    ),
    Situation(
        "primary_key_changes_its_case",
        ICU + "CREATE TABLE t_a (name text COLLATE ci PRIMARY KEY, v int)",
        rows="INSERT INTO t_a SELECT 'v' || n, n FROM generate_series(1, 30) n",
        receiver="ALTER TABLE t_a ADD seen int",
        own="UPDATE t_a SET seen = v",
        steps=(
            partial("UPDATE t_a SET name = 'V5' WHERE name = 'v5'"),
            complete(
                "UPDATE t_a SET name = upper(name) WHERE v > 20",
                deletes={},
                finds=[ask("SELECT count(*) FROM t_a WHERE seen = v", (30,))],
            ),
            complete("DELETE FROM t_a WHERE v = 1; INSERT INTO t_a VALUES ('V1', 100)"),
        ),
        modes=TWO,
    ),
    Situation(
        "reference_to_a_name_of_another_case",
        ICU + "CREATE TABLE t_a (name text COLLATE ci PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a text COLLATE ci REFERENCES t_a"
        " ON UPDATE CASCADE ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES ('ann'), ('bob');"
        "INSERT INTO t_b VALUES (1, 'Ann'), (2, 'BOB')",
        steps=(
            partial("UPDATE t_b SET a = 'ANN' WHERE id = 1"),
            partial("INSERT INTO t_a VALUES ('Cid'); INSERT INTO t_b VALUES (3, 'cID')"),
            complete("UPDATE t_a SET name = 'Ann' WHERE name = 'ann'"),
            complete("DELETE FROM t_a WHERE name = 'BOB'", deletes={"t_a": 1, "t_b": 1}),
        ),
        modes=TWO,
    ),
    Situation(
        "composite_key_of_names_without_case",
        ICU + "CREATE TABLE t_a (x text COLLATE ci, y text COLLATE ai, v int,"
        " PRIMARY KEY (x, y)); CREATE UNIQUE INDEX ON t_a (v, x)",
        rows="INSERT INTO t_a VALUES ('a', 'e', 1), ('a', 'f', 2), ('b', 'e', 1)",
        steps=(
            partial("UPDATE t_a SET x = 'A', y = 'é' WHERE x = 'a' AND y = 'e'"),
            complete("UPDATE t_a SET y = 'É'  WHERE y = 'e'"),
            partial(
                "UPDATE t_a SET v = 3 WHERE v = 1 AND x = 'a'; UPDATE t_a SET v = 1"
                " WHERE v = 2; UPDATE t_a SET v = 2 WHERE v = 3"
            ),
        ),
    ),
    Situation(
        "citext_made_of_a_domain",
        ICU + "CREATE DOMAIN mail AS text COLLATE ci CHECK (VALUE LIKE '%@%' COLLATE \"C\");"
        "CREATE TABLE t_a (id int PRIMARY KEY, u mail NOT NULL UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 'a@x'), (2, 'b@x')",
        steps=(
            partial("UPDATE t_a SET u = 'A@x' WHERE id = 1"),
            partial(
                "UPDATE t_a SET u = 'z@x' WHERE id = 1; UPDATE t_a SET u = 'a@X' WHERE id = 2;"
                "UPDATE t_a SET u = 'B@x' WHERE id = 1"
            ),
        ),
    ),
)

DECLARED = '<?xml version="1.0" encoding="UTF-8"?><a/>'
STANDALONE = '<?xml version="1.0" standalone="yes"?><a/>'


def quoted(value: str) -> str:
    """A value in the text of an array or a row."""
    return '"' + value.replace('"', '\\"') + '"'


# A column type, a value, and one that equals it and is another, or differs barely.
LOOKALIKES = {
    "numeric": ("numeric", "1.0", "1.00"),
    "numeric_special": ("numeric", "NaN", "Infinity"),
    "float8_zero": ("float8", "0", "-0"),
    "float4_zero": ("real", "0", "-0"),
    "float8_close": ("float8", "0.1", "0.10000000000000002"),
    "blanks": ("char(5)", "a", "b"),
    "blanks_without_length": ("bpchar", "a", "a  "),
    "interval": ("interval", "1 day", "24 hours"),
    "interval_month": ("interval", "1 mon", "30 days"),
    "timetz": ("timetz", "12:00+00", "13:00+01"),
    "timestamptz": ("timestamptz", "infinity", "-infinity"),
    "jsonb_numbers": ("jsonb", '{"a": 1.0}', '{"a": 1.00}'),
    "json_blanks": ("json", '{"a":1}', '{"a": 1}'),
    "json_double_key": ("json", '{"a":1,"a":2}', '{"a":2}'),
    "xml": ("xml", "<a/>", "<a></a>"),
    "xml_declared": ("xml", DECLARED, STANDALONE),
    "xml_in_a_domain": ("page", DECLARED, STANDALONE),
    "xmls": ("xml[]", "{" + quoted(DECLARED) + "}", "{" + quoted(STANDALONE) + "}"),
    "xml_in_a_row": ("sheet", f"({quoted(DECLARED)},1)", f"({quoted(STANDALONE)},1)"),
    "blanks_in_a_domain": ("padded", "a", "a  "),
    "numerics": ("numeric[]", "{1.0,NULL}", "{1.00,NULL}"),
    "array_bounds": ("int[]", "{1,2}", "[0:1]={1,2}"),
    "empty_and_null": ("text", "", "NULL"),
    "range": ("numrange", "[1.0,2)", "[1.00,2)"),
    "multirange": ("nummultirange", "{[1.0,2)}", "{[1.00,2)}"),
    "composite": ("pair", "(1.0,a)", "(1.00,a)"),
    "composite_of_nulls": ("pair", "(,)", "NULL"),
    "composites": ("pair[]", '{"(1.0,a)"}', '{"(1.00,a)"}'),
    "domain": ("amount", "1.0", "1.00"),
    "inet": ("inet", "10.0.0.1", "10.0.0.1/8"),
    "cidr": ("cidr", "10.0.0.0/8", "10.0.0.0/9"),
    "macaddr8": ("macaddr8", "08:00:2b:01:02:03:04:05", "08:00:2b:ff:fe:01:02:03"),
    "bits": ("bit varying", "1", "10"),
    "bytea": ("bytea", r"\x00", r"\x0000"),
    "tsvector": ("tsvector", "'a':1A", "'a':1B"),
    "tsquery": ("tsquery", "'a'", "'a':A"),
    "uuid": (
        "uuid",
        "00000000-0000-0000-0000-000000000001",
        "00000000-0000-0000-0000-000000000002",
    ),
    "money": ("money", "1", "1.01"),
    "point": ("point", "(0,0)", "(-0,0)"),
    "point_close": ("point", "(0,0)", "(0.00000001,0)"),
    "box": ("box", "(1,1),(0,0)", "(2,0.5),(0,0)"),
    "circle": ("circle", "<(0,0),1>", "<(5,5),1>"),
    "polygon": ("polygon", "((0,0),(0,1),(1,0))", "((0,1),(1,0),(0,0))"),
    "path": ("path", "((0,0),(1,1))", "[(0,0),(1,1)]"),
    "hstore_of_poor_people": ("text[][]", "{{a,b}}", "{a,b}"),
    "char": ('"char"', "a", ""),
    "name": ("name", "a", "b"),
    "pg_lsn": ("pg_lsn", "0/1", "1/0"),
    "regclass": ("regclass", "pg_class", "pg_type"),
    "txid": ("pg_snapshot", "1:2:", "1:3:"),
    "unicode": ("text", "é", "e\u0301"),
    "line_ends": ("text", "a\nb", "a\r\nb"),
    "backslashes": ("text", "\\N", "NULL"),
    "jsonpath": ("jsonpath", '$."a"', "$[*]"),
    "date": ("date", "0001-01-01 BC", "infinity"),
}


def literal(value: str) -> str:
    return "NULL" if value == "NULL" else "'" + value.replace("'", "''") + "'"


TYPES = (
    "CREATE TYPE pair AS (n numeric, t text); CREATE DOMAIN amount AS numeric CHECK (VALUE > 0);"
    "CREATE DOMAIN page AS xml; CREATE DOMAIN padded AS bpchar;"
    "CREATE TYPE sheet AS (x xml, price money);"
)
COLUMNS = ", ".join(f"c_{name} {kind}" for name, (kind, _, _) in LOOKALIKES.items())


EXCHANGED = (
    "UPDATE t_a SET ("
    + ", ".join(f"c_{name}" for name in LOOKALIKES)
    + ") = (SELECT "
    + ", ".join(f"c_{name}" for name in LOOKALIKES)
    + " FROM t_a other WHERE other.id = 3 - t_a.id)"
)
# Types with an order, or at least a hash, can be keys.
KEYS = {
    name: kind
    for name, (kind, one, two) in LOOKALIKES.items()
    if kind not in {"json", "point", "box", "circle", "polygon", "path", "jsonpath"}
    and "pg_snapshot" not in kind
    and "xml" not in name
    and "NULL" not in {one, two}
}
EQUAL = (
    *("numeric", "float8_zero", "float4_zero", "interval", "interval_month", "jsonb_numbers"),
    *("numerics", "range", "multirange", "composite", "composites", "domain", "tsquery"),
    *("blanks_without_length", "blanks_in_a_domain"),
)

TYPED = (
    Situation(
        "two_rows_of_every_type_exchange_their_values",
        f"{TYPES} CREATE TABLE t_a (id int PRIMARY KEY, {COLUMNS})",
        rows="".join(
            f"INSERT INTO t_a VALUES ({which},"
            f" {', '.join(literal(values[which]) for values in LOOKALIKES.values())});"
            for which in (1, 2)
        ),
        steps=(
            complete(EXCHANGED, deletes={}),
            partial(EXCHANGED),
            # One column each, so that no other tells that the row has changed.
            partial(
                "INSERT INTO t_a SELECT 10 + n FROM generate_series(1, 2) n;"
                + "".join(
                    f"INSERT INTO t_a (id, c_{name}) SELECT {10 * number} + id, c_{name}"
                    " FROM t_a WHERE id < 3;"
                    for number, name in enumerate(LOOKALIKES, 2)
                )
            ),
            complete(
                "".join(
                    f"UPDATE t_a SET c_{name} = (SELECT c_{name} FROM t_a other WHERE other.id ="
                    f" {10 * number} + 3 - t_a.id % 10) WHERE id / 10 = {number};"
                    for number, name in enumerate(LOOKALIKES, 2)
                ),
                deletes={},
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "keys_of_every_type",
        TYPES
        + "".join(
            f"CREATE TABLE t_{name} (k {kind} PRIMARY KEY, v int);" for name, kind in KEYS.items()
        ),
        rows="".join(
            f"INSERT INTO t_{name} VALUES ({literal(LOOKALIKES[name][1])}, 1);" for name in KEYS
        ),
        steps=(
            partial("".join(f"UPDATE t_{name} SET v = 2;" for name in KEYS)),
            partial(
                "".join(
                    f"INSERT INTO t_{name} VALUES ({literal(LOOKALIKES[name][2])}, 3);"
                    for name in KEYS
                    if name not in EQUAL
                )
            ),
            complete("".join(f"DELETE FROM t_{name} WHERE v = 2;" for name in KEYS)),
        ),
    ),
    Situation(
        "S7_keys_that_equal_what_they_were",
        TYPES
        + "".join(
            f"CREATE TABLE t_{name} (k {LOOKALIKES[name][0]} PRIMARY KEY, v int);" for name in EQUAL
        ),
        rows="".join(
            f"INSERT INTO t_{name} VALUES ({literal(LOOKALIKES[name][1])}, 1);" for name in EQUAL
        ),
        receiver="".join(f"ALTER TABLE t_{name} ADD seen int;" for name in EQUAL),
        own="".join(f"UPDATE t_{name} SET seen = 1;" for name in EQUAL),
        steps=(
            partial(
                "".join(
                    f"UPDATE t_{name} SET k = {literal(LOOKALIKES[name][2])};" for name in EQUAL
                ),
                finds=[ask(f"SELECT seen FROM t_{name}", (1,)) for name in EQUAL],
            ),
            complete(
                "".join(
                    f"UPDATE t_{name} SET k = {literal(LOOKALIKES[name][1])};" for name in EQUAL
                ),
                deletes={},
                finds=[ask(f"SELECT seen FROM t_{name}", (1,)) for name in EQUAL],
            ),
        ),
    ),
    Situation(
        "S7_numeric_key_alone",
        "CREATE TABLE t_a (k numeric PRIMARY KEY, v int);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a numeric REFERENCES t_a ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES (1.0, 1), (2, 2); INSERT INTO t_b VALUES (1, 1.00)",
        steps=(
            partial("UPDATE t_a SET k = 1.00 WHERE v = 1"),
            complete("UPDATE t_a SET k = 1.000 WHERE v = 1; UPDATE t_b SET a = 1", deletes={}),
        ),
    ),
    Situation(
        "equal_values_in_unique_columns",
        TYPES
        + "".join(
            f"CREATE TABLE t_{name} (id int PRIMARY KEY, u {LOOKALIKES[name][0]} UNIQUE);"
            for name in EQUAL
        ),
        rows="".join(
            f"INSERT INTO t_{name} VALUES (1, {literal(LOOKALIKES[name][1])});" for name in EQUAL
        ),
        steps=(
            partial(
                "".join(
                    f"UPDATE t_{name} SET u = {literal(LOOKALIKES[name][2])};" for name in EQUAL
                )
            ),
            complete(
                "".join(
                    f"UPDATE t_{name} SET u = {literal(LOOKALIKES[name][1])};" for name in EQUAL
                ),
                deletes={},
            ),
            partial(
                "".join(
                    f"DELETE FROM t_{name}; INSERT INTO t_{name} VALUES"
                    f" (2, {literal(LOOKALIKES[name][2])});"
                    for name in EQUAL
                ),
                deletes={f"t_{name}": 1 for name in EQUAL},
            ),
        ),
    ),
    Situation(
        "payloads_of_a_nan",
        # Through float8recv, which keeps every bit.
        "CREATE TABLE t_a (id int PRIMARY KEY, f float8, r real)",
        rows="INSERT INTO t_a VALUES (1, 'NaN', 'NaN'), (2, '-NaN', '-NaN'), (3, 5e-324, 1e-45),"
        " (4, 1.7976931348623157e308, 3.4028235e38)",
        steps=(
            partial("UPDATE t_a SET f = -f, r = -r"),
            complete("UPDATE t_a SET f = 1, r = 1 WHERE id > 2"),
        ),
    ),
    Situation(
        "large_values_and_many_columns",
        "CREATE TABLE t_a (id int PRIMARY KEY, t text, j jsonb);"
        f"CREATE TABLE t_wide (id int PRIMARY KEY, {', '.join(f'c{n} text' for n in range(300))})",
        rows="INSERT INTO t_a SELECT n, repeat('ñ', 500000), jsonb_build_array(repeat('x', 300000))"
        " FROM generate_series(1, 3) n;"
        "INSERT INTO t_wide (id, c0, c299) VALUES (1, 'a', 'b'), (2, NULL, 'c')",
        steps=(
            partial("UPDATE t_a SET t = t || 'x' WHERE id = 2; UPDATE t_wide SET c150 = 'z'"),
            complete("UPDATE t_a SET j = j || '[1]' WHERE id = 3; UPDATE t_wide SET c0 = NULL"),
        ),
    ),
)


@cases(COLLATIONS)
@pytest.mark.long
def test_bytes_count_and_not_what_a_collation_calls_equal(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(TYPED)
def test_values_of_every_type_arrive_to_the_bit(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
