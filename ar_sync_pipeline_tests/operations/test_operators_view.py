"""What the UI shows of both code locations before anything has run."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import (
    applied_archives_key,
    archive_key,
    postprocessed_key,
    receiver_table_key,
    snapshot_key,
)
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.cron import longest_pause
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings

MANUAL = Path(__file__).parents[2] / "docs" / "ui.md"
_CHECK = re.compile(r"^\| `[a-z_]+` \| .*(warning|error|the same)")
BLOCKING = {"archives_sound", "archives_fit_schema", "digests_equal"}
CHECKS = {
    "sender": {
        "partial/archive": {"acknowledged", "free_space", "no_gap_in_windows"},
        "partial/media_bundle": {"references_resolved"},
        "complete/media_bundle": {"references_resolved"},
        "complete/archive": {"unchanged_chunks_verified"},
        "receiver_endpoint": {"archives_can_be_published", "preflight"},
    },
    "receiver": {
        "receiver/admitted_archives": {"archives_sound", "archives_fit_schema"},
        "receiver/applied_archives": {
            "archives_loaded", "digests_equal", "free_space", "no_drift", "no_holes", "preflight",
            "tables_sent", "up_to_date",
        },
        "receiver/postprocessed_rows": {"no_rows_rejected", "rows_transformed_in_time"},
    },
}  # fmt: skip


@pytest.fixture
def locations(tmp_path: Path) -> dict[str, dg.Definitions]:
    """Return both sides as they load, without any server."""
    for name in ("media", "scratch", "receiver_media", "spool"):
        (tmp_path / name).mkdir()
    for name in ("key", "known_hosts"):
        (tmp_path / name).touch()
    sender = load_sender_settings(
        {
            "AR_SYNC_SENDER_DATABASE_URL": "postgresql://nobody@nowhere/none",
            "AR_SYNC_SENDER_MEDIA_FLDR": str(tmp_path / "media"),
            "AR_SYNC_TMP_BKP_FLDR": str(tmp_path / "scratch"),
            "AR_SYNC_REMOTE_HOST": "viz.example.org",
            "AR_SYNC_REMOTE_USER": "ar_sync",
            "AR_SYNC_PRIVATE_KEY": str(tmp_path / "key"),
            "AR_SYNC_KNOWN_HOSTS": str(tmp_path / "known_hosts"),
            "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            "AR_SYNC_STATE_FLDR": str(tmp_path / "state"),
        }
    )
    receiver = load_receiver_settings(
        {
            "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://nobody@nowhere/none",
            "AR_SYNC_RECEIVER_MEDIA_FLDR": str(tmp_path / "receiver_media"),
            "AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool"),
        }
    )
    return {"sender": sender_definitions(sender), "receiver": receiver_definitions(receiver)}


@pytest.fixture(params=["sender", "receiver"])
def side(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def specs(definitions: dg.Definitions) -> list[dg.AssetSpec]:
    return list(definitions.resolve_all_asset_specs())


def test_every_asset_says_what_it_is_whose_it_is_and_where_it_belongs(
    locations: dict[str, dg.Definitions], side: str
) -> None:
    for spec in specs(locations[side]):
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.description.endswith("."), name
        assert spec.kinds, name
        assert list(spec.owners) == ["team:operators"], name
        assert spec.group_name not in (None, "default"), name
        assert spec.tags["ar_sync/side"] == side, name


def test_every_check_of_the_design_is_there_and_says_what_to_do(
    locations: dict[str, dg.Definitions], side: str
) -> None:
    graph = locations[side].resolve_asset_graph()
    found: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
        spec = graph.get_check_spec(key)
        assert spec.description, key
        assert "If not: " in spec.description, key
    assert found == CHECKS[side]


def test_the_manual_lists_every_check_and_which_of_them_block() -> None:
    lines = MANUAL.read_text("utf-8").splitlines()
    listed = {line.split("`")[1]: "**block" in line for line in lines if _CHECK.match(line)}
    every = {name for on in CHECKS.values() for names in on.values() for name in names}
    assert set(listed) == every
    assert {name for name, blocks in listed.items() if blocks} == BLOCKING - {"archives_fit_schema"}
    assert re.search(r"`archives_fit_schema` \| .* \| the same \|", MANUAL.read_text("utf-8"))


def test_every_picture_of_the_manual_is_there_and_small() -> None:
    named = set(re.findall(r"\(images/([a-z_]+\.png)\)", MANUAL.read_text("utf-8")))
    pictures = {path.name: path.stat().st_size for path in (MANUAL.parent / "images").glob("*.png")}
    assert set(pictures) == named
    assert max(pictures.values()) < 300_000


def test_only_checks_whose_failure_must_stop_what_follows_are_blocking(
    locations: dict[str, dg.Definitions],
) -> None:
    blocking = set()
    for definitions in locations.values():
        graph = definitions.resolve_asset_graph()
        blocking |= {k.name for k in graph.asset_check_keys if graph.get_check_spec(k).blocking}
    assert blocking == BLOCKING


def test_every_job_has_an_owner(locations: dict[str, dg.Definitions], side: str) -> None:
    jobs = locations[side].get_repository_def().get_all_jobs()
    named = [job for job in jobs if not job.name.startswith("__")]
    assert {job.name: job.owners for job in named} == {
        job.name: ["team:operators"] for job in named
    }


def test_descriptions_of_the_tables_begin_with_what_differs(
    locations: dict[str, dg.Definitions], side: str
) -> None:
    tables = [spec for spec in specs(locations[side]) if "tables" in spec.key.path]
    beginnings = {(spec.key.path[0], (spec.description or "").partition(" ")[0]) for spec in tables}
    assert len(beginnings) == len(tables)


def test_the_load_is_a_chain_of_five_boxes_beside_the_group_of_the_tables(
    locations: dict[str, dg.Definitions],
) -> None:
    groups: dict[str | None, set[str]] = {}
    for spec in specs(locations["receiver"]):
        groups.setdefault(spec.group_name, set()).add(spec.key.path[-1])
    assert groups.keys() == {"from_the_sender", "receiver_load", "receiver_tables"}
    assert groups["receiver_load"] == {
        "admitted_archives", "media", "applied_archives", "postprocessed_rows",
    }  # fmt: skip
    assert len(groups["receiver_tables"]) == 24


def test_the_grid_of_a_new_installation_begins_with_the_newest_closed_window(
    locations: dict[str, dg.Definitions], tmp_path: Path
) -> None:
    grid = locations["sender"].resolve_job_def("partial_dump").partitions_def
    assert grid is not None
    assert 1 <= len(grid.get_partition_keys()) <= 2
    written = datetime.fromisoformat((tmp_path / "state/sender/first_window").read_text())
    assert timedelta(minutes=5) <= datetime.now(UTC) - written < timedelta(minutes=12)


def test_every_job_schedule_and_sensor_has_a_description(
    locations: dict[str, dg.Definitions], side: str
) -> None:
    repository = locations[side].get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    described = {
        **{job.name: job.description for job in jobs},
        **{schedule.name: schedule.description for schedule in repository.schedule_defs},
        **{sensor.name: sensor.description for sensor in repository.sensor_defs},
    }
    assert [name for name, text in described.items() if not text] == []


def test_a_table_snapshot_leads_to_the_receivers_table_over_both_locations(
    locations: dict[str, dg.Definitions],
) -> None:
    parents: dict[dg.AssetKey, set[dg.AssetKey]] = {}
    for definitions in locations.values():
        graph = definitions.resolve_asset_graph()
        for key in graph.get_all_asset_keys():
            parents.setdefault(key, set()).update(graph.get(key).parent_keys)

    def upstream(key: dg.AssetKey) -> set[dg.AssetKey]:
        found = set(parents[key])
        for parent in parents[key]:
            found |= upstream(parent)
        return found

    catalog = load_catalog()
    for table in catalog.named_tables():
        above = upstream(receiver_table_key(catalog, table, ALONE))
        assert snapshot_key(catalog, ArchiveKind.COMPLETE, table, ALONE) in above
        if table in catalog.tracked():
            assert snapshot_key(catalog, ArchiveKind.PARTIAL, table, ALONE) in above


def test_the_receivers_own_dagster_shows_the_archives_as_external(
    locations: dict[str, dg.Definitions],
) -> None:
    graph = locations["receiver"].resolve_asset_graph()
    foreign = {key for key in graph.get_all_asset_keys() if not graph.get(key).is_materializable}
    assert foreign == {archive_key(kind, ALONE) for kind in ArchiveKind}
    assert {graph.get(key).group_name for key in foreign} == {"from_the_sender"}


def test_all_that_every_run_makes_may_become_only_so_old(
    locations: dict[str, dg.Definitions],
) -> None:
    sender = {spec.key: spec.freshness_policy for spec in specs(locations["sender"])}
    half_an_hour = dg.FreshnessPolicy.time_window(
        fail_window=timedelta(minutes=30), warn_window=timedelta(minutes=15)
    )
    assert sender[archive_key(ArchiveKind.PARTIAL, ALONE)] == half_an_hour
    without = {key.to_user_string() for key, policy in sender.items() if policy is None}
    assert without == {"receiver_endpoint"}

    receiver = {spec.key: spec.freshness_policy for spec in specs(locations["receiver"])}
    stale_after = {
        key: policy.fail_window.to_timedelta()
        for key, policy in receiver.items()
        if isinstance(policy, TimeWindowFreshnessPolicy)
    }
    assert stale_after[applied_archives_key(ALONE)] == timedelta(minutes=30)
    assert stale_after[postprocessed_key(ALONE)] == timedelta(minutes=60)
    tables = {key for key in receiver if key.path[:2] == ["receiver", "tables"]}
    assert len(tables) == 24
    # A table without changes is written by the nightly complete: late after a day and some hours.
    assert all(timedelta(days=1) < stale_after[key] < timedelta(days=1.5) for key in tables)


@pytest.mark.parametrize(
    ("cron", "pause"),
    [
        ("30 3 * * *", timedelta(days=1)),
        ("30 3,15 * * *", timedelta(hours=12)),
        ("30 3 * * 1-5", timedelta(days=3)),
        ("0 4 * * 0", timedelta(days=7)),
        ("*/30 1-2 * * *", timedelta(hours=22.5)),
    ],
)
def test_the_longest_pause_of_a_schedule_is_found(cron: str, pause: timedelta) -> None:
    assert longest_pause(cron, "UTC", datetime(2026, 11, 24, tzinfo=UTC)) == pause


def test_where_clocks_change_a_day_may_have_an_hour_more() -> None:
    before = datetime(2027, 3, 20, tzinfo=UTC)
    assert longest_pause("30 3 * * *", "America/Santiago", before) == timedelta(hours=25)
