"""Hostile archives: each is quarantined with one sentence, and changes nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.sync.load.admitting_process import admitted_by
from ar_sync_pipeline_tests.sync.load.hostile_archives import Honest, hostile

_MOST_MIB = 200


@pytest.fixture
def honest(filled: TwoSites) -> tuple[TwoSites, Path, Honest]:
    """Return two servers, an archive of one that the other would load, and its bytes."""
    (filled.sender_media / "bus.jpeg").write_bytes(b"picture" * 100)
    filled.at_sender("UPDATE app_child SET picture = 'bus.jpeg' WHERE id = 5")
    path = filled.complete()
    content = path.read_bytes()
    path.unlink()
    return filled, path, Honest(content)


def everything_else(sites: TwoSites) -> dict[str, tuple[int, int, int]]:
    """Return every file except those of a quarantine: size, time and mode."""
    made = (str(sites.spool / "quarantine"), str(sites.spool / "receipts"))
    return {
        str(path): (facts.st_size, facts.st_mtime_ns, facts.st_mode)
        for path in [*sites.folder.rglob("*"), Path("/etc/passwd")]
        if not str(path).startswith(made) and path.is_file()
        for facts in [path.stat()]
    }


@pytest.mark.long
@settings(
    max_examples=int(os.environ.get("AR_SYNC_HISTORIES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)
@given(data=st.data())
def test_each_is_quarantined_with_one_sentence_and_touches_nothing(
    honest: tuple[TwoSites, Path, Honest], data: st.DataObject
) -> None:
    sites, path, archive = honest
    path.write_bytes(data.draw(hostile(archive)))
    size_bytes = path.stat().st_size
    path_before = everything_else(sites).pop(str(path), None)
    assert path_before is not None
    before = {k: v for k, v in everything_else(sites).items() if k != str(path)}
    admission = sites.admit()
    assert (admission.admitted, admission.parked) == ((), ())
    (refused,) = admission.quarantined
    sentence = str(refused)
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert len(sentence) < 1000
    (kept,) = (sites.spool / "quarantine").glob("*.tar")
    assert kept.stat().st_size == size_bytes
    reason = read_reason(kept)
    assert reason is not None
    assert reason.reason == refused.problem
    assert everything_else(sites) == before
    for left in (sites.spool / "quarantine").iterdir():
        left.unlink()


def test_honest_one_is_admitted_all_the_same(honest: tuple[TwoSites, Path, Honest]) -> None:
    """Otherwise the other tests would prove nothing."""
    sites, path, archive = honest
    path.write_bytes(archive.forged(archive.manifest))
    assert len(sites.admit().admitted) == 1


def test_unsigned_or_badly_signed_one_is_quarantined_where_a_key_is_shared(
    honest: tuple[TwoSites, Path, Honest],
) -> None:
    sites, path, archive = honest
    sites.environ["AR_SYNC_SIGNING_KEY"] = "3f9c1e7ab05d48826d2eb7f4910c5a83"
    for content, words in (
        (archive.content, "not signed"),
        (archive.changed(lambda m: m.update(hmac="0" * 64)), "not made with this side's key"),
    ):
        path.write_bytes(content)
        (refused,) = sites.admit().quarantined
        assert words in str(refused)
        assert "k" * 32 not in str(refused)


@pytest.mark.parametrize("kind", ["link", "device", "pipe", "folder"])
def test_what_is_no_file_is_not_even_looked_at(
    honest: tuple[TwoSites, Path, Honest], kind: str
) -> None:
    """A link with an archive's name is never followed out of the spool."""
    sites, path, archive = honest
    elsewhere = sites.folder / "elsewhere.tar"
    elsewhere.write_bytes(archive.content)
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device" and os.geteuid() == 0:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    else:
        path.mkdir()
    admission = sites.admit()
    assert (admission.admitted, admission.parked, admission.quarantined) == ((), (), ())
    assert os.path.lexists(path)
    assert elsewhere.read_bytes() == archive.content


@pytest.mark.long
def test_memory_stays_small_with_any_content(honest: tuple[TwoSites, Path, Honest]) -> None:
    sites, path, archive = honest
    worst = {
        "many lists": archive.forged(b'{"format":1,"x":[%s]}' % b",".join([b"[]"] * 10**6)),
        "many commas": archive.forged(b'{"format":1%s}' % (b"," * 10**7)),
        "wrong media": archive.forged(b'{"format":1,"media":[%s]}' % b",".join([b"{}"] * 40_000)),
        "deep": archive.forged(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "claims gigabytes": archive.content[:124] + b"77777777777\0" + archive.content[136:],
    }
    environment = {
        "AR_SYNC_RECEIVER_DATABASE_URL": sites.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(sites.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(sites.spool),
    }
    for name, content in worst.items():
        path.write_bytes(content)
        quarantined, peak_kib = admitted_by(environment, sites.catalog)
        assert quarantined == 1, name
        assert peak_kib < _MOST_MIB * 1024, name
