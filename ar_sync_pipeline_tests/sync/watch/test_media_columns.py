"""``ar-sync check`` at the sender names columns whose files are sent in spite of their rule."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.watch.media_columns import sent_file_findings
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
