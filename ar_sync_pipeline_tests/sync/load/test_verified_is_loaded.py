"""What was verified is what is loaded, whatever happens to the files in between."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.reader import ArchiveReader, open_archive, verify_archive
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_quarantined, list_waiting
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline_tests.fix_sites import (
    CHILDREN,
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    remake,
    rows,
    watermark_of,
)

CHANGE = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id < 10"
KEY = "correct horse battery staple 0123456789"


def load_admitted(sites: TwoSites, names: tuple[str, ...]) -> LoadReport:
    return load_archives(sites.settings, sites.catalog, names, sites.clock)


def sign(path: Path, folder: Path) -> None:
    with open_archive(path) as reader:
        signature = reader.manifest.signature(KEY.encode())
    remake(path, folder, hmac=signature)


def quarantined(sites: TwoSites) -> str:
    """Return the reason of the only quarantined file."""
    (found,) = list_quarantined(sites.spool)
    return str(read_reason(found.path))


class TestReplacedBetweenAdmissionAndLoad:
    """By anybody who may write to the spool."""

    def test_unsigned_twin_of_a_signed_archive(self, filled: TwoSites, tmp_path: Path) -> None:
        filled.environ["AR_SYNC_SIGNING_KEY"] = KEY
        path = filled.complete()
        unsigned = path.read_bytes()
        sign(path, tmp_path / "signed")
        names = filled.admit().names
        path.write_bytes(unsigned)
        assert load_admitted(filled, names).loaded == ()
        assert "not what was verified" in quarantined(filled)
        assert rows(filled.receiver, PARENTS) == []

    def test_another_archive_that_is_signed_as_well(self, filled: TwoSites, tmp_path: Path) -> None:
        filled.environ["AR_SYNC_SIGNING_KEY"] = KEY
        path = filled.complete()
        sign(path, tmp_path / "signed")
        names = filled.admit().names
        remake(path, tmp_path / "other", product_version="0", hmac=None)
        sign(path, tmp_path / "signed again")
        assert load_admitted(filled, names).loaded == ()
        assert "not what was verified" in quarantined(filled)

    def test_the_others_of_the_load_are_loaded(self, filled: TwoSites, tmp_path: Path) -> None:
        complete = filled.complete()
        filled.at_sender(CHANGE)
        partial = filled.partial(recent_window(), since=watermark_of(complete))
        names = filled.admit().names
        remake(partial, tmp_path / "other", product_version="0")
        report = load_admitted(filled, names)
        assert [loaded.manifest.name.waiting for loaded in report.loaded] == [complete.name]
        assert not equal(filled)
        filled.partial(recent_window(), since=watermark_of_applied(complete))
        filled.load()
        assert equal(filled)

    def test_archive_that_nobody_has_verified_waits(self, filled: TwoSites) -> None:
        path = filled.complete()
        assert load_admitted(filled, (path.name.removeprefix("NEW_"),)).loaded == ()
        assert [archive.path for archive in list_waiting(filled.spool)] == [path]
        assert len(filled.load().loaded) == 1


class TestChangedBetweenAdmissionAndLoad:
    """A change of what the archive is compared with, not of the archive."""

    def test_receivers_schema(self, filled: TwoSites) -> None:
        filled.complete()
        names = filled.admit().names
        filled.at_receiver("ALTER TABLE app_child DROP COLUMN amount")
        assert load_admitted(filled, names).loaded == ()
        (parked,) = list_parked(filled.spool)
        assert "lacks column app_child.amount" in str(read_reason(parked.path))
        filled.at_receiver("ALTER TABLE app_child ADD amount double precision")
        assert len(filled.load().loaded) == 1
        assert equal(filled)

    def test_signing_key(self, filled: TwoSites) -> None:
        filled.complete()
        names = filled.admit().names
        filled.environ["AR_SYNC_SIGNING_KEY"] = KEY
        assert load_admitted(filled, names).loaded == ()
        assert "not signed" in quarantined(filled)

    def test_senders_name(self, filled: TwoSites) -> None:
        filled.complete()
        names = filled.admit().names
        filled.environ["AR_SYNC_SENDER_NAME"] = "production"
        assert load_admitted(filled, names).loaded == ()
        assert "comes from another sender" in quarantined(filled)


def watermark_of_applied(waiting: Path) -> Watermark:
    return watermark_of(waiting.with_name(waiting.name.removeprefix("NEW_")))


class TestAppliedOnesThatAreAppliedOnceMore:
    """After an older archive that arrived late."""

    @pytest.fixture
    def late(self, filled: TwoSites) -> tuple[Path, bytes, Path]:
        """Return a complete that has not arrived, and an applied partial that was made after it."""
        first = filled.complete()
        filled.load()
        since = watermark_of_applied(first)
        filled.at_sender(CHANGE, "DELETE FROM app_child WHERE id = 1000")
        complete = filled.complete(since=since)
        content = complete.read_bytes()
        complete.unlink()
        filled.at_sender(CHANGE)
        partial = filled.partial(recent_window(), since=since)
        filled.load()
        return complete, content, partial.with_name(partial.name.removeprefix("NEW_"))

    def test_overwritten_in_place_with_other_content_under_its_id(
        self, filled: TwoSites, late: tuple[Path, bytes, Path], tmp_path: Path
    ) -> None:
        complete, content, partial = late
        before = rows(filled.receiver, CHILDREN)
        remake(partial, tmp_path / "other", product_version="0")
        complete.write_bytes(content)
        report = filled.load()
        assert report.loaded == ()
        assert "not what was verified" in quarantined(filled)
        assert rows(filled.receiver, CHILDREN) == before
        filled.complete()
        filled.load()
        assert equal(filled)

    @pytest.mark.parametrize("fault", ["removed", "cut", "unreadable"])
    def test_can_no_longer_be_used(
        self, filled: TwoSites, late: tuple[Path, bytes, Path], fault: str
    ) -> None:
        """The late one is held back, and everything newer is loaded as usual."""
        complete, content, partial = late
        before = rows(filled.receiver, CHILDREN)
        if fault == "cut":
            os.truncate(partial, 5000)
        else:
            partial.unlink()
        if fault == "unreadable":
            partial.mkdir()
        complete.write_bytes(content)
        assert filled.load().loaded == ()
        assert rows(filled.receiver, CHILDREN) == before
        filled.at_sender(CHANGE)
        filled.complete()
        assert len(filled.load().loaded) == 1
        assert equal(filled)

    def test_the_key_has_changed_since(
        self, filled: TwoSites, late: tuple[Path, bytes, Path], tmp_path: Path
    ) -> None:
        """The ledger proves what was applied; only new archives must be signed."""
        complete, content, _ = late
        complete.write_bytes(content)
        sign(complete, tmp_path / "signed")
        filled.environ["AR_SYNC_SIGNING_KEY"] = KEY
        assert len(filled.load().loaded) == 2
        assert equal(filled)


class TestArchivesThatPassForOthers:
    """Names and ids are not trusted."""

    def test_id_of_an_applied_archive(self, filled: TwoSites, tmp_path: Path) -> None:
        filled.complete()
        filled.load()
        path = filled.complete()
        (line,) = rows(filled.receiver, "SELECT archive_id FROM ar_sync.applied_archive")
        mark = verify_archive(path, signing_keys=()).watermark.model_copy(
            update={"archive_id": line[0]}
        )
        remake(path, tmp_path / "other", archive_id=line[0], watermark=mark)
        assert filled.load().loaded == ()
        assert "another archive of this name or id" in quarantined(filled)

    def test_id_of_another_waiting_archive(self, filled: TwoSites, tmp_path: Path) -> None:
        first, second = filled.complete(), filled.complete()
        stolen = verify_archive(first, signing_keys=()).archive_id
        mark = verify_archive(second, signing_keys=()).watermark.model_copy(
            update={"archive_id": stolen}
        )
        remake(second, tmp_path / "other", archive_id=stolen, watermark=mark)
        report = filled.load()
        assert [loaded.manifest.name.waiting for loaded in report.loaded] == [first.name]
        assert "another archive has its id" in quarantined(filled)

    def test_name_of_an_applied_archive(self, filled: TwoSites, tmp_path: Path) -> None:
        path = filled.complete()
        content = path.read_bytes()
        filled.load()
        applied = path.with_name(path.name.removeprefix("NEW_"))
        path.write_bytes(content)
        remake(path, tmp_path / "other", product_version="0")
        assert filled.load().loaded == ()
        assert "another archive of this name or id" in quarantined(filled)
        assert applied.read_bytes() == content

    def test_another_sender_in_the_very_first_load(self, filled: TwoSites, tmp_path: Path) -> None:
        """No sender is known yet; the archives of two senders are not mixed."""
        first = filled.complete()
        filled.at_sender(CHANGE)
        second = filled.complete()
        other_sender = verify_archive(second, signing_keys=()).sender.model_copy(
            update={"system_identifier": "1"}
        )
        remake(second, tmp_path / "other", sender=other_sender)
        report = filled.load()
        assert [loaded.manifest.name.waiting for loaded in report.loaded] == [first.name]
        assert "comes from another sender" in quarantined(filled)


def test_ledger_of_an_older_version_is_brought_up_to_date(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver(
        "DROP TABLE ar_sync.admitted_archive",
        "ALTER TABLE ar_sync.applied_archive DROP manifest_sha256, DROP history,"
        " DROP unverified_chunks",
    )
    filled.at_sender(CHANGE)
    filled.complete()
    assert len(filled.load().loaded) == 1
    assert equal(filled)


class Line:
    """Three archives of a sender, and the receiver's states after all, or all but one, of them."""

    def __init__(self, sites: TwoSites) -> None:
        self.sites = sites
        self.archives: dict[Path, bytes] = {}
        self._take(sites.complete())
        for _ in range(2):
            sites.at_sender(CHANGE)
            since = watermark_of(list(self.archives)[-1])
            self._take(sites.partial(recent_window(), since=since))

    def _take(self, path: Path) -> None:
        self.archives[path] = path.read_bytes()

    def sign(self, folder: Path) -> None:
        for path in self.archives:
            sign(path, folder / path.name)
            self._take(path)
        self.sites.environ["AR_SYNC_SIGNING_KEY"] = KEY

    def begin_again(self, *, without: Path | None = None) -> None:
        self.sites.at_receiver(
            "DROP SCHEMA IF EXISTS ar_sync CASCADE", "TRUNCATE app_child, app_parent, app_note"
        )
        for path in self.sites.spool.rglob("*.tar*"):
            path.unlink()
        for path, content in self.archives.items():
            if path != without:
                path.write_bytes(content)

    @cached_property
    def good_states(self) -> list[list[tuple[object, ...]]]:
        states = []
        for path in (None, *self.archives):
            self.begin_again(without=path)
            self.sites.load()
            states.append(rows(self.sites.receiver, CHILDREN))
        return states


@pytest.fixture
def signed_or_not(request: pytest.FixtureRequest, filled: TwoSites, tmp_path: Path) -> Line:
    filled.at_sender("DELETE FROM app_child WHERE id > 50")
    line = Line(filled)
    if request.param:
        line.sign(tmp_path)
    return line


@pytest.mark.long
@settings(
    max_examples=int(os.environ.get("AR_SYNC_HISTORIES", "8")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
@pytest.mark.parametrize("signed_or_not", [False, True], indirect=True, ids=["unsigned", "signed"])
def test_byte_that_changes_at_any_time_never_makes_a_state_that_no_good_archive_made(
    signed_or_not: Line, data: st.DataObject
) -> None:
    line, sites = signed_or_not, signed_or_not.sites
    good_states = line.good_states
    line.begin_again()
    path = data.draw(st.sampled_from(list(line.archives)))
    offset = data.draw(st.integers(0, len(line.archives[path]) - 1))
    bit = data.draw(st.integers(0, 7))
    moment = data.draw(st.sampled_from(["upload", "admission", "plan", "applied"]))

    def flip(*places: Path) -> None:
        for place in places:
            if place.exists():
                content = bytearray(place.read_bytes())
                content[offset] ^= 1 << bit
                place.write_bytes(content)

    if moment == "upload":
        flip(path)
    names = sites.admit().names
    if moment == "admission":
        flip(path)
    with pytest.MonkeyPatch.context() as patch:
        if moment == "plan":
            left = [path]

            def open_flipped(found: Path) -> AbstractContextManager[ArchiveReader]:
                flip(*left)
                left.clear()
                return open_archive(found)

            patch.setattr("ar_sync_pipeline.sync.load.stage_archives.open_archive", open_flipped)
        load_admitted(sites, names)
    if moment == "applied":
        flip(path.with_name(path.name.removeprefix("NEW_")))
        sites.at_receiver("DELETE FROM ar_sync.applied_archive WHERE kind = 'partial'")
        sites.load()
    assert rows(sites.receiver, CHILDREN) in good_states
    # The next complete repairs the damage.
    sites.clock, clock = (lambda: clock() + timedelta(seconds=2)), sites.clock
    complete = sites.complete()
    if sites.environ:
        sign(complete, sites.folder / f"signed {complete.name}")
    sites.load()
    sites.clock = clock
    assert equal(sites)
