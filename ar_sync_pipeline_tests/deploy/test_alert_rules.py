"""The example alert rules: Prometheus' own tool reads them, and each fires for its problem only."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from dagster_shared.yaml_utils import load_yaml_from_path

from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "ar_sync.rules.yml"
_HOURS = 32
_MINUTES = _HOURS * 60
# The clock of promtool begins at zero: a figure that is always now.
NOW, ZERO = f"0+60x{_MINUTES}", f"0x{_MINUTES}"
_RECEIVER = 'instance="viz", pair="lima", side="receiver"'
HEALTHY: Mapping[str, str] = {
    "ar_sync_metrics_timestamp_seconds{%s}": NOW,
    "ar_sync_readable{%s}": f"1x{_MINUTES}",
    "ar_sync_lag_seconds{%s}": f"420x{_MINUTES}",
    "ar_sync_data_until_timestamp_seconds{%s}": NOW,
    "ar_sync_gaps{%s}": ZERO,
    'ar_sync_archives{%s, state="parked"}': ZERO,
    'ar_sync_archives{%s, state="not acknowledged"}': ZERO,
    'ar_sync_archives{%s, state="waiting"}': f"1x{_MINUTES}",
    'ar_sync_last_success_timestamp_seconds{%s, kind="complete"}': NOW,
    'ar_sync_free_ratio{%s, folder="spool"}': f"0.5x{_MINUTES}",
    "ar_sync_open_incidents{%s}": ZERO,
    "ar_sync_unsent_alerts{%s}": ZERO,
}
# For each alert the figures of its problem; None: there is no such figure.
PROBLEMS: Mapping[str, Mapping[str, str | None]] = {
    "ArSyncFiguresAreOld": {"ar_sync_metrics_timestamp_seconds{%s}": ZERO},
    "ArSyncNoFigures": dict.fromkeys(HEALTHY),
    "ArSyncNotReadable": {
        "ar_sync_readable{%s}": ZERO,
        "ar_sync_lag_seconds{%s}": None,
        "ar_sync_data_until_timestamp_seconds{%s}": None,
    },
    "ArSyncReceiverIsBehind": {"ar_sync_lag_seconds{%s}": f"1801x{_MINUTES}"},
    "ArSyncHoldsNoData": {
        "ar_sync_lag_seconds{%s}": None,
        "ar_sync_data_until_timestamp_seconds{%s}": None,
    },
    "ArSyncGap": {"ar_sync_gaps{%s}": f"1x{_MINUTES}"},
    "ArSyncArchivesNotApplied": {'ar_sync_archives{%s, state="parked"}': f"2x{_MINUTES}"},
    "ArSyncArchivesNotAcknowledged": {
        'ar_sync_archives{%s, state="not acknowledged"}': f"2x{_MINUTES}"
    },
    "ArSyncNoCompleteForADay": {
        'ar_sync_last_success_timestamp_seconds{%s, kind="complete"}': ZERO,
    },
    "ArSyncDiskIsFull": {'ar_sync_free_ratio{%s, folder="spool"}': f"0.09x{_MINUTES}"},
    "ArSyncIncidentIsOpen": {"ar_sync_open_incidents{%s}": f"1x{_MINUTES}"},
    "ArSyncAlertsDoNotGetThrough": {"ar_sync_unsent_alerts{%s}": f"3x{_MINUTES}"},
}


def promtool(*words: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        skip_unless_in_ci("no promtool is installed")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def firing(folder: Path, figures: Mapping[str, str | None], alerts: list[str]) -> None:
    """Let Prometheus evaluate the rules over these figures; exactly these alerts must fire."""
    series = [
        {"series": name % _RECEIVER, "values": values}
        for name, values in {**HEALTHY, **figures}.items()
        if values is not None
    ]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{_HOURS}h",
                        "exp_samples": [
                            {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts
                        ],
                    }
                ],
            }
        ],
    }
    file = folder / "rules_test.yml"
    file.write_text(json.dumps(test))
    promtool("test", "rules", str(file))


def test_prometheus_reads_every_rule_and_each_has_a_test() -> None:
    assert f"{len(PROBLEMS)} rules found" in promtool("check", "rules", str(RULES))
    rules = load_yaml_from_path(str(RULES))
    assert isinstance(rules, dict)
    assert {rule["alert"] for group in rules["groups"] for rule in group["rules"]} == set(PROBLEMS)


@pytest.mark.long
def test_nothing_fires_when_all_is_well(tmp_path: Path) -> None:
    firing(tmp_path, {}, [])


@pytest.mark.parametrize("alert", PROBLEMS)
@pytest.mark.long
def test_alert_fires_for_its_problem_alone(tmp_path: Path, alert: str) -> None:
    firing(tmp_path, PROBLEMS[alert], [alert])
