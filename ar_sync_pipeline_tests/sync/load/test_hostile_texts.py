"""Names from a sender or the spool are shown, without effect in a terminal or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.spool.reasons import read_reason, reason_path
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.load.rejected_archives import parked_by_gate
from ar_sync_pipeline_tests.fix_dagster import SMALL_CATALOG
from ar_sync_pipeline_tests.fix_sites import TwoSites

HOSTILE = "\x1b[2J\u202egpj.exe\nroot: all is well `x` | <b>"
SPELLED = r"\x1b[2J\u202egpj.exe\nroot: all is well"


@pytest.fixture
def column(filled: TwoSites) -> str:
    """Create a column whose name is an attack, at the sender only."""
    name = HOSTILE.encode()[:60].decode()
    filled.at_sender(f'ALTER TABLE app_child ADD "{name}" integer')
    return name


def output(sites: TwoSites, *words: object) -> str:
    file = sites.folder / "catalog.toml"
    file.write_text(SMALL_CATALOG)
    variables = {
        "AR_SYNC_CATALOG": str(file),
        "AR_SYNC_RECEIVER_DATABASE_URL": sites.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(sites.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(sites.spool),
        "COLUMNS": "300",
    }
    result = CliRunner().invoke(main, [str(word) for word in words], env=variables)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output


def assert_harmless(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.usefixtures("column")
def test_name_of_a_column_is_spelled_in_the_reason_and_in_the_terminal(sites: TwoSites) -> None:
    path = sites.complete()
    sites.admit()
    (parked,) = list_parked(sites.spool)
    reason = read_reason(parked.path)
    assert reason is not None
    assert SPELLED in reason.reason
    assert reason.reason.isprintable()
    for words in (("status",), ("inspect", parked.path)):
        assert_harmless(output(sites, *words))
    assert SPELLED in output(sites, "status")
    assert not path.exists()


@pytest.fixture
def sites(filled: TwoSites) -> TwoSites:
    return filled


def test_at_most_five_mismatches_are_listed(sites: TwoSites) -> None:
    columns = ", ".join(f"ADD c{n} integer" for n in range(1200))
    sites.at_sender(f"ALTER TABLE app_child {columns}")
    sites.complete()
    (refused,) = sites.admit().parked
    assert refused.problem.count("the receiver lacks column") == 5
    assert "and 1,195 more" in refused.problem
    assert len(str(refused)) < 1000


def test_label_of_two_megabytes_makes_no_long_sentence(sites: TwoSites) -> None:
    labels = ", ".join(f"'{n:0>63}'" for n in range(50))
    for at, values in ((sites.at_sender, labels), (sites.at_receiver, "'one'")):
        at(f"CREATE TYPE mood AS ENUM ({values})", "ALTER TABLE app_child ADD m mood")
    sites.complete()
    (refused,) = sites.admit().parked
    assert refused.problem.count("lacks the label") == 5
    assert len(str(refused)) < 1000


@pytest.mark.usefixtures("column")
def test_reason_file_that_somebody_wrote_is_shown_harmless(sites: TwoSites) -> None:
    sites.complete()
    sites.admit()
    (parked,) = list_parked(sites.spool)
    reason = read_reason(parked.path)
    assert reason is not None
    forged = reason.model_copy(update={"reason": HOSTILE + "x" * 50_000, "remedy": HOSTILE})
    Path(reason_path(parked.path)).write_text(forged.model_dump_json())
    (shown,) = parked_by_gate(sites.settings)
    assert str(shown).isprintable()
    assert len(str(shown)) < 1200
    found = output(sites, "status")
    assert_harmless(found)
    assert len(found) < 20_000
