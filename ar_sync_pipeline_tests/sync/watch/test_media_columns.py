"""``ar-sync check`` at the sender names columns whose files are sent or missing in error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.watch.media_columns import sent_file_findings, unsent_file_findings
from ar_sync_pipeline_tests.fix_sites import execute

HIDDEN = {"exclude": ["avatar"], "mask": {"photo": {"constant": ""}, "name": "pseudonym"}}


@pytest.fixture
def profiles(empty_database: str, tmp_path: Path) -> str:
    execute(
        empty_database,
        "CREATE TABLE profile (id int PRIMARY KEY, avatar text, photo text NOT NULL, name text)",
        "INSERT INTO profile SELECT n, 'a' || n || '.png', 'b' || n || '.jpeg', 'n' || n"
        " FROM generate_series(1, 20) n",
        "ANALYZE profile",
    )
    for name in ("a1.png", "a2.png", "a3.png", "b1.jpeg", "b2.jpeg", "b3.jpeg"):
        (tmp_path / name).touch()
    return empty_database


def named(url: str, folder: Path, rules: Mapping[str, object], *patterns: str) -> list[str]:
    catalog = Catalog.model_validate({"name": "x", "tables": ["*"], "table": {"profile": rules}})
    with connect(url, application="check") as connection:
        found = sent_file_findings(connection, catalog, folder, patterns)
        return [one.problem.partition(" of table")[0] for one in found]


def test_column_with_a_rule_whose_files_a_pattern_sends_is_named(
    profiles: str, tmp_path: Path
) -> None:
    assert named(profiles, tmp_path, HIDDEN, "*.png", "*.jpeg") == ["column photo", "column avatar"]
    assert named(profiles, tmp_path, HIDDEN, "*.jpeg") == ["column photo"]
    assert named(profiles, tmp_path, HIDDEN) == []
    assert named(profiles, tmp_path, {}, "*.png") == []


def test_excluded_media_column_keeps_its_files(profiles: str, tmp_path: Path) -> None:
    kept = {"exclude": ["avatar"], "media_columns": ["avatar"]}
    assert named(profiles, tmp_path, kept, "*.png") == []


def test_role_that_may_not_read_the_column_learns_nothing(profiles: str, tmp_path: Path) -> None:
    role = f"reads {profiles.rpartition('/')[2]}"
    execute(profiles, f'CREATE ROLE "{role}" LOGIN', f'GRANT SELECT (photo) ON profile TO "{role}"')
    scheme, _, rest = profiles.partition("://")
    url = f"{scheme}://{role.replace(' ', '%20')}@{rest.partition('@')[2]}"
    assert named(url, tmp_path, HIDDEN, "*.png", "*.jpeg") == ["column photo"]


def unsent(url: str, folder: Path, rules: Mapping[str, object], *patterns: str) -> list[str]:
    catalog = Catalog.model_validate({"name": "x", "tables": ["*"], "table": {"profile": rules}})
    with connect(url, application="check") as connection:
        return [str(one) for one in unsent_file_findings(connection, catalog, folder, patterns)]


def test_column_that_got_files_after_the_draft_is_named_until_they_are_sent(
    profiles: str, tmp_path: Path
) -> None:
    """Also if its table is too small to be analyzed."""
    execute(profiles, "ALTER TABLE profile ADD cover text")
    rules = {"media_columns": ["avatar", "photo"]}
    assert unsent(profiles, tmp_path, rules) == []
    execute(profiles, "UPDATE profile SET cover = 'c1.gif' WHERE id = 7")
    (tmp_path / "c1.gif").touch()
    (found,) = unsent(profiles, tmp_path, rules)
    assert found.startswith("column cover of table profile names files of the media folder")
    assert "add cover to `media_columns` at both sides, or *.gif to AR_SYNC_MEDIA_PATTERNS" in found
    assert unsent(profiles, tmp_path, rules, "*.gif") == []
    for key in ("media_columns", "exclude"):
        assert unsent(profiles, tmp_path, rules | {key: [*rules["media_columns"], "cover"]}) == []


def test_columns_that_the_role_may_not_read_do_not_hide_the_others(
    profiles: str, tmp_path: Path
) -> None:
    role = f"reads {profiles.rpartition('/')[2]}"
    execute(profiles, f'CREATE ROLE "{role}" LOGIN', f'GRANT SELECT (photo) ON profile TO "{role}"')
    scheme, _, rest = profiles.partition("://")
    url = f"{scheme}://{role.replace(' ', '%20')}@{rest.partition('@')[2]}"
    (found,) = unsent(url, tmp_path, {"exclude": ["avatar", "name"]})
    assert found.startswith("column photo of ")
