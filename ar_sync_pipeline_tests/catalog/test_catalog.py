"""A catalog contains only what a database cannot tell."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.errors import CatalogError, InvalidCatalogError
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog, TableRules


def test_android_requests_catalog_names_the_24_replicated_tables() -> None:
    catalog = load_catalog()
    assert len(catalog.named_tables()) == 24
    assert not any(catalog.replicates(table) for table in catalog.receiver_tables)
    assert not catalog.replicates("androidrequests_event")


def test_catalog_of_another_application_takes_ten_lines(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(
        """
        name = "shop"
        tables = ["shop_*"]
        receiver_tables = ["shop_dashboard"]
        django_app = "shop"

        [table.shop_order]
        changed_at = "modified"
        media_columns = ["invoice_pdf"]
        """
    )
    catalog = load_catalog(path)
    assert catalog.replicates("shop_customer")
    assert catalog.tracked() == ("shop_order",)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name = ", "no TOML"),
        (f"name = {'[' * 3000}", "nested too deeply"),
        (f"name = 'x'\ntables = {'[' * 200}'a'{']' * 200}", "tables"),
        ("name = 'x'\ntables = []", "tables"),
        ("name = 'x'\ntables = ['a_*']\ncolour = 1", "colour"),
        ("name = 'x'\ntables = ['a_*']\n[table.b_x]\nchanged_at = 't'", "b_x"),
        ("name = 'x'\ntables = ['a_*']\n[table.a_x]\nchildren = ['b_y']", "b_y"),
    ],
)
def test_wrong_catalog_gets_one_sentence(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(CatalogError, match=error) as caught:
        load_catalog(path)
    assert str(path) in str(caught.value)


def test_missing_catalog_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"cannot be read \(No such file or directory\): name a"):
        load_catalog(tmp_path / "nowhere.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(CatalogError, match=r"cannot be read \(it is not text in UTF-8\): name a"):
        load_catalog(tmp_path / "bytes.toml")


def test_byte_order_mark_of_a_windows_editor_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_bytes(b"\xef\xbb\xbfname = 'x'\r\ntables = ['a']\r\n")
    assert load_catalog(path).tables == ("a",)


def test_wrong_kind_of_value_is_said_in_the_words_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    path.write_text("name = 'x'\ntables = ['a']\n[table.a]\nexclude = 'b'\nmask = ['c']\n")
    with pytest.raises(InvalidCatalogError) as caught:
        load_catalog(path)
    assert [str(error) for error in caught.value.problems] == [
        '[table.a] exclude: has a wrong value (it is no list): write a list: ["name", "other"]',
        "[table.a] mask: has a wrong value (it is no table): write a table: { name = VALUE }",
    ]


def catalog_of(*tables: str, **fields: object) -> Catalog:
    return Catalog.model_validate({"name": "x", "tables": tables, **fields})


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("t_*", ["t_", "t_a", "public.t_.a"], ["T_a", "x.t_a", "at_a", "t"]),
        ("a[1]", ["a[1]"], ["a1", "A[1]"]),
        ("a[!b]?", ["a[!b]c"], ["acc", "a[!b]"]),
        ("x.t_*", ["x.t_a"], ["t_a", "y.t_a", "public.x.t_a", "xy.t_a"]),
        ("x?.t", ["x1.t"], ["x.t", "x12.t"]),
        ("*.t", ["t", "x.t"], ["x.tt", "x.a.t"]),
        ("public.t", ["t"], ["x.t"]),
        ("public.a.b", ["public.a.b"], ["a.b", "b"]),
        ("*", ["t", "a/b 'c'\"%", "ñ\n🚌"], ["x.t"]),
        ("*.*", ["t", "x.t", "x.a.b"], []),
    ],
)
def test_only_stars_and_question_marks_are_special_in_a_pattern(
    pattern: str, matched: list[str], others: list[str]
) -> None:
    catalog = catalog_of(pattern)
    assert [label for label in [*matched, *others] if catalog.replicates(label)] == matched


def test_label_means_one_table_and_a_table_has_one_label() -> None:
    catalog = catalog_of(
        "public.t_a",
        "x.t_*",
        receiver_tables=["public.own", "x.t_own"],
        exclude=["x.t_old*"],
        table={"public.t_a": {"children": ["x.t_b", "public.t_a"]}, "x.t_b": {}},
    )
    assert catalog.named_tables() == ("t_a", "x.t_b")
    assert catalog.rules("t_a").children == ("x.t_b", "t_a")
    assert catalog.receiver_tables == ("own", "x.t_own")
    assert not any(map(catalog.replicates, ["x.t_own", "x.t_old", "x.t_old_1", "t_b"]))
    assert [catalog.locate(label) for label in ("t_a", "x.t_b", "x.a.b", "public.a.b")] == [
        ("public", "t_a"), ("x", "t_b"), ("x", "a.b"), ("public", "a.b"),
    ]  # fmt: skip


def test_catalog_of_another_schema_calls_its_tables_by_their_names_alone() -> None:
    catalog = catalog_of("t_*", "sales.extra", "public.t_b", schema="sales")
    assert [label for label in ("t_a", "extra", "public.t_b", "public.t_a") if
            catalog.replicates(label)] == ["t_a", "extra", "public.t_b"]  # fmt: skip
    assert catalog.locate("t_a") == ("sales", "t_a")


def test_schema_with_a_dot_in_its_name_can_be_the_catalogs_own() -> None:
    catalog = catalog_of("a.b.t_*", "c", schema="a.b")
    assert [catalog.replicates(label) for label in ("t_1", "c", "a.t_1", "b.t_1")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert catalog.locate("t_1") == ("a.b", "t_1")
    assert catalog.locate("a.b.x.y") == ("a.b", "x.y")


def test_every_error_is_said_at_once_with_its_place_and_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        """
        tables = ["t_*", "old"]
        exclude = ["old", "t_x*"]
        receiver_tbls = ["t_own"]
        whole_table_limit_mb = -1
        [table.t_a]
        changed_at = 7
        triggers = "sometimes"
        children = ["t_x1", "u"]
        [table."public.t_a"]
        [table."t b"]
        changed_at_zone = "Mars/Olympus"
        [table.t_x2]
        [table."x.c"]
        [table."x."]
        """
    )
    with pytest.raises(InvalidCatalogError) as caught:
        load_catalog(path)
    said = [str(error) for error in caught.value.problems]
    expected = [
        '[table."public.t_a"]: means the same table as [table.t_a]: ',
        "name: is missing: add it",
        "whole_table_limit_mb: has a wrong value (input should be greater than or equal to 0): ",
        "[table.t_a] changed_at: has a wrong value (input should be a valid string): ",
        "[table.t_a] triggers: has a wrong value (input should be 'suppress' or 'fire'): ",
        "receiver_tbls: is no key of a catalog: did you mean receiver_tables?",
        "tables: names old, which is excluded: remove it here or from `exclude`",
        "[table.t_a] children: t_x1 is not replicated: remove it here or from `exclude`",
        '[table.t_a] children: u is not replicated: add "u" to `tables`, or remove it here',
        '[table."t b"]: matches no pattern of `tables`: add "t b" to `tables`',
        '[table."t b"] changed_at_zone: has no `changed_at` beside it: ',
        "[table.\"t b\"] changed_at_zone: 'Mars/Olympus' is no time zone: ",
        "[table.t_x2]: has rules, but the table is excluded: ",
        '[table."x.c"]: matches no pattern of `tables`: add "x.c" to `tables`',
        "[table.\"x.\"]: 'x.' lacks a name beside the dot: ",
    ]
    for line in expected:
        assert any(error.startswith(line) for error in said), (line, said)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("zone", ["America", "../UTC", "/etc/localtime", "Santiago", "utc\0"])
def test_zone_of_a_time_stamp_is_one_of_the_iana_database(tmp_path: Path, zone: str) -> None:
    path = tmp_path / "zone.toml"
    rules = f'changed_at = "at"\nchanged_at_zone = {json.dumps(zone)}'
    path.write_text(f'name = "x"\ntables = ["t"]\n[table.t]\n{rules}')
    with pytest.raises(InvalidCatalogError, match=r"\[table.t\] changed_at_zone"):
        load_catalog(path)
    path.write_text(path.read_text().replace(json.dumps(zone), '"America/Santiago"'))
    assert load_catalog(path).rules("t").changed_at_zone == "America/Santiago"


def test_manual_explains_every_key_and_no_other() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")
    of_file, of_table = manual.partition("## Keys of a table")[::2]
    for text, model in ((of_file, Catalog), (of_table.partition("## Keys of rows")[0], TableRules)):
        rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        explained = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
        fields = [info.alias or name for name, info in model.model_fields.items()]
        assert sorted(explained) == sorted(fields)
    for limit in ("watermark_limit_mb", "whole_table_limit_mb"):
        (line,) = [line for line in of_file.splitlines() if line.startswith(f"| `{limit}`")]
        assert f"({Catalog.model_fields[limit].default})" in line


def test_example_of_the_manual_is_a_catalog(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")
    path = tmp_path / "shop.toml"
    path.write_text(manual.partition("```toml\n")[2].partition("```")[0])
    catalog = load_catalog(path)
    assert catalog.named_tables() == ("billing.invoice line", "shop_order")
    assert not catalog.replicates("shop_sessions")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ('mask = { a = "nul" }', 'mask.a: has a wrong value (a mask is "null", "pseudonym", {'),
        ("mask = { a = 7 }", "mask.a: has a wrong value"),
        ("mask = { a = { round = true } }", "round takes a number of digits from -18 to 18"),
        ("mask = { a = { truncate = 0 } }", "truncate takes a number of characters from 1 on"),
        ('mask = { a = { truncate = "fortnight" } }', "a unit of time (second, minute"),
        ("mask = { a = { constant = 2020-01-01 } }", "constant takes a text, a number"),
        ('mask = { a = { round = 1, constant = "" } }', "mask.a: has a wrong value"),
        ('exclude = ["a"]\nmask = { a = "null" }', "mask.a: is not replicated"),
        ('receiver_columns = ["a"]\nmask = { a = "null" }', "mask.a: is not replicated"),
        ('exclude = ["a"]\nreceiver_columns = ["a"]', "a is no column of the sender by"),
        ('exclude = ["a"]\nrewritten_by_transform = ["a"]', "a is replicated by"),
        ('exclude = ["a"]\nchanged_at = "a"', "a is `changed_at`"),
        ('media_columns = ["a"]\nmask = { a = "null" }', "names media files"),
    ],
)
def test_column_rules_that_no_dump_could_follow_are_errors(
    tmp_path: Path, rules: str, said: str
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f'name = "x"\ntables = ["t"]\n[table.t]\n{rules}')
    with pytest.raises(InvalidCatalogError) as caught:
        load_catalog(path)
    assert any(said in str(error) for error in caught.value.problems), caught.value


def test_column_rules_survive_a_round_trip() -> None:
    masks = {
        "a": "null", "b": {"constant": False}, "c": {"truncate": "day"}, "d": {"round": -2},
    }  # fmt: skip
    catalog = catalog_of("t", table={"t": {"exclude": ["x"], "mask": masks}})
    again = Catalog.model_validate_json(catalog.model_dump_json(by_alias=True))
    assert again == catalog
    assert catalog.rules("t").column_rules == {
        "a": "null", "b": "constant", "c": "truncate", "d": "round", "x": "exclude",
    }  # fmt: skip


def test_example_of_column_rules_in_the_manual_is_a_catalog(tmp_path: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")
    example = manual.partition("[table.auth_user]\n")[2].partition("```")[0]
    path = tmp_path / "rules.toml"
    path.write_text(f'name = "x"\ntables = ["auth_user"]\n[table.auth_user]\n{example}')
    rules = set(load_catalog(path).rules("auth_user").column_rules.values())
    assert rules == {"exclude", "null", "constant", "pseudonym", "truncate", "round"}


@pytest.mark.parametrize(
    ("tables", "approved"),
    [
        (["t_*"], False),
        (["t_*", "t_sales_1"], True),
        (["t_*", "t_sales_*"], True),
        (["*.*", "t_sales_*"], True),
        (["t_*", "t_?*"], False),  # matches the old name, too
        (["t_*", "*_1"], False),  # matches by chance
        (["*", "*.*"], False),  # only adds schemas
    ],
)
def test_narrower_pattern_approves_names_to_come(tables: list[str], approved: bool) -> None:
    catalog = Catalog(name="x", tables=tuple(tables), exclude=("*_tmp",))
    assert catalog.approves("t_sales_1", "t_load_tmp") is approved


def test_wider_pattern_of_schemas_is_no_approval() -> None:
    catalog = Catalog(name="x", tables=("*", "*.*"), exclude=("other.*",))
    assert not catalog.approves("t_s", "other.t_s")
