"""``ar-sync check`` with settings that are wrong: what does not depend on them is checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline_tests.fix_dagster import SMALL_CATALOG, Deployment
from ar_sync_pipeline_tests.fix_rights import permissions_count

AWAY = "postgresql://u:hunter2@127.0.0.1:1/d"


def check(side: str, deployment: Deployment, **changes: str) -> tuple[dict[str, Any], str]:
    """Return the JSON object and the error of a call that ends with exit code 2."""
    environment = getattr(deployment, f"{side}_environment")() | changes
    shown = CliRunner().invoke(main, ["check", "--json"], env=environment)
    assert shown.exit_code == 2, shown.output
    plain = CliRunner().invoke(main, ["check"], env=environment)
    assert (plain.exit_code, plain.stderr) == (2, shown.stderr)
    assert "Archives can be" not in plain.stdout
    assert "hunter2" not in shown.output + plain.output
    found = json.loads(shown.stdout)
    assert found["ok"] is False
    for one in found["findings"]:
        assert f"{one['level']}: {one['problem']}" in plain.stdout
    return found, shown.stderr


def by_area(found: dict[str, Any]) -> dict[str, str]:
    return {one["area"]: one["problem"] for one in found["findings"]}


def test_connection_and_database_are_tried_with_a_wrong_media_folder(
    deployment: Deployment,
) -> None:
    found, error = check(
        "sender",
        deployment,
        AR_SYNC_SENDER_MEDIA_FLDR="/nowhere",
        AR_SYNC_SENDER_DATABASE_URL=AWAY,
        AR_SYNC_REMOTE_BKP_FLDR="/spoool",
    )
    assert "AR_SYNC_SENDER_MEDIA_FLDR=/nowhere: does not exist" in error
    assert (found["code"], found["problem"].split("\n")[0]) == (
        "settings",
        "1 error in the settings of the sender",
    )
    assert "127.0.0.1:1/d cannot be reached" in by_area(found)["database"]
    assert [step["name"] for step in found["steps"] if step["outcome"] == "failed"] == [
        "spool exists"
    ]
    assert by_area(found)["media"] == (
        "media was not examined, or only in part, since AR_SYNC_SENDER_MEDIA_FLDR cannot be used"
    )


@pytest.mark.parametrize(
    ("side", "variable", "value"),
    [
        *(
            (side, variable.format(side.upper()), value)
            for side in ("sender", "receiver")
            for variable, value in (
                ("AR_SYNC_ADMINS", "nobody"),
                ("AR_SYNC_CATALOG", "/nowhere.toml"),
                ("AR_SYNC_FREE_SPACE_FLOOR", "much"),
                ("AR_SYNC_PAIR", "1"),
                ("AR_SYNC_SIGNING_KEY", "short"),
                ("AR_SYNC_STATE_FLDR", "here"),
                ("AR_SYNC_TIME", "soon"),
                ("AR_SYNC_TYME", "15"),
                ("AR_SYNC_{}_DATABASE_URL", "postgresql://%zz"),
                ("AR_SYNC_{}_MEDIA_FLDR", "/nowhere"),
                ("AR_SYNC_REMOTE_BKP_FLDR", "../.."),
            )
        ),
        ("sender", "AR_SYNC_TMP_BKP_FLDR", "/nowhere"),
        ("sender", "AR_SYNC_REMOTE_HOST", ""),
        ("receiver", "AR_SYNC_TRANSFORM", "sometimes"),
    ],
)
def test_any_wrong_setting_is_said_and_leaves_other_areas_checked(
    deployment: Deployment, side: str, variable: str, value: str
) -> None:
    environment = getattr(deployment, f"{side}_environment")() | {variable: value}
    shown = CliRunner().invoke(main, ["check", "--json"], env=environment)
    assert shown.exit_code == 2, shown.output
    assert variable in shown.stderr
    found = json.loads(shown.stdout)
    assert "1 error in the settings" in found["problem"]
    # At most these depend on one setting; errors would be of its own making.
    assert [one["problem"] for one in found["findings"] if one["level"] == "error"] == []
    assert len(found["findings"]) < 9


def test_without_a_catalog_the_database_is_tried(deployment: Deployment) -> None:
    (deployment.folder / "catalog.toml").write_text("nonsense")
    found, error = check("receiver", deployment, AR_SYNC_RECEIVER_DATABASE_URL=AWAY)
    assert "is no TOML" in error
    problems = [one["problem"] for one in found["findings"] if one["area"] == "database"]
    assert any("127.0.0.1:1/d cannot be reached" in problem for problem in problems)
    assert any("since AR_SYNC_CATALOG cannot be used" in problem for problem in problems)


def test_wrong_catalog_and_wrong_setting_are_both_said(deployment: Deployment) -> None:
    (deployment.folder / "catalog.toml").write_text(SMALL_CATALOG + "\n[nonsense]\n")
    found, error = check("sender", deployment, AR_SYNC_TIME="soon")
    assert "nonsense" in error
    assert "AR_SYNC_TIME=soon" in error
    assert found["code"] == "settings"
    of_settings, of_catalog = found["invalid"]
    assert "AR_SYNC_TIME=soon" in of_settings["problem"]
    assert "nonsense" in of_catalog["problem"]


def test_dagster_that_could_not_be_started_by_hand_is_found(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here := tmp_path / "etc").mkdir(mode=0o500)
    monkeypatch.chdir(here)
    environment = deployment.receiver_environment()

    def found(home: str) -> dict[str, str]:
        with permissions_count():
            shown = CliRunner().invoke(
                main, ["check", "--json"], env=environment | {"DAGSTER_HOME": home}
            )
        return {one["problem"]: one["level"] for one in json.loads(shown.stdout)["findings"]}

    def of_dagster(home: str) -> list[tuple[str, str]]:
        return [(p.split(" is ")[0], level) for p, level in found(home).items() if "DAGSTER" in p]

    assert of_dagster("") == [("DAGSTER_HOME", "note")]
    assert of_dagster(str(tmp_path)) == []
    assert of_dagster("/nowhere") == [("DAGSTER_HOME=/nowhere", "warning")]
    assert of_dagster("etc") == [("DAGSTER_HOME=etc", "warning")]
    assert of_dagster("~nobody_at_all/x") == [("DAGSTER_HOME=~nobody_at_all/x", "warning")]
    here.chmod(0o700)
    assert of_dagster("") == []
