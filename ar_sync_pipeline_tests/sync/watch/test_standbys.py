"""A database that takes no writes: a standby, which a URL may name after a failover."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_sites import (
    SMALL_SENDER,
    TwoSites,
    equal,
    execute,
    recent_window,
    watermark_of,
)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def standby(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a database with the small application's tables, on a server in recovery."""
    primary, copy = (
        EmbeddedPostgres(
            tmp_path_factory.mktemp(name) / "server", settings={"wal_level": "replica"}
        )
        for name in ("primary", "standby")
    )
    with primary:
        execute(primary.create_database("small"), *SMALL_SENDER)
    subprocess.run(["cp", "-a", f"{primary.folder}/.", copy.folder], check=True)
    (copy.folder / "data" / "standby.signal").touch()
    with copy:
        yield copy.url("small")
    for server in (primary, copy):
        server.destroy()


def refusal(work: Callable[[], object]) -> ArSyncError:
    with pytest.raises(DatabaseRefusedError) as caught:
        work()
    return caught.value


def test_partial_of_a_standby_is_refused_with_the_remedy(
    small_sites: TwoSites, standby: str
) -> None:
    sites = replace(small_sites, sender=standby)
    error = refusal(lambda: sites.partial(recent_window()))
    assert "takes no writes" in error.problem
    assert "target_session_attrs=read-write" in error.remedy


def test_load_into_a_standby_is_refused_and_the_archive_waits(
    small_sites: TwoSites, standby: str
) -> None:
    waiting = small_sites.complete()
    refusal(replace(small_sites, receiver=standby).load)
    assert waiting.exists()
    assert small_sites.load().refused == ()


@pytest.mark.parametrize("check", [check_sender, check_receiver])
def test_check_names_a_standby(
    small_sites: TwoSites, standby: str, check: Callable[..., tuple[object, ...]]
) -> None:
    (found,) = (str(one) for one in check(standby, small_sites.catalog) if "standby" in str(one))
    assert "target_session_attrs=read-write" in found
    assert not any("standby" in str(one) for one in check(small_sites.sender, small_sites.catalog))


def test_default_of_read_only_transactions_has_no_effect(filled: TwoSites) -> None:
    for url in (filled.sender, filled.receiver):
        name = url.rpartition("/")[2]
        execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    first = watermark_of(filled.complete())
    filled.partial(recent_window(), since=first)
    assert filled.load().refused == ()
    assert equal(filled)
    assert check_sender(filled.sender, filled.catalog) == ()
