"""Archives dated ahead, and the primaries between which a sender goes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline_tests.fix_sites import equal, remake, watermark_of
from ar_sync_pipeline_tests.sync.fix_wrong_clocks import CHANGE, DAY, DELETION, HOUR, WrongClocks


def on_timeline(path: Path, number: int, folder: Path) -> Path:
    """Let an archive come from another timeline, as its first one."""
    mark = watermark_of(path).model_copy(update={"timeline": number})
    remake(path, folder, watermark=mark, new_history=True)
    return path


@pytest.mark.parametrize("timeline", [1, 2])
@pytest.mark.long
def test_archive_dated_ahead_is_overtaken_by_one_made_after_a_failover(
    clocks: WrongClocks, tmp_path: Path, timeline: int
) -> None:
    """Or after the cluster was restored from a cold copy, which keeps its timeline."""
    clocks.complete(timedelta(0))
    clocks.load()
    wrong = clocks.complete(DAY, clocks.watermark())
    assert clocks.load() == []
    assert clocks.parked() == [wrong.name]
    clocks.sites.at_sender(CHANGE, DELETION)
    after = clocks.complete(timedelta(0), clocks.watermark())
    on_timeline(after, timeline, tmp_path / "remade")
    assert clocks.load() == [after.name]
    assert clocks.load(2 * DAY) == []
    assert clocks.parked() == []
    assert equal(clocks.sites)


@pytest.mark.long
def test_cluster_that_went_back_to_a_lower_timeline_is_followed(
    clocks: WrongClocks, tmp_path: Path
) -> None:
    """It was restored from a copy that was made before a failover."""
    clocks.complete(-3 * HOUR)
    clocks.load()
    after = clocks.complete(-2 * HOUR, clocks.watermark())
    on_timeline(after, 2, tmp_path / "after")
    assert clocks.load() == [after.name]
    clocks.sites.at_sender(CHANGE, DELETION)
    restored = on_timeline(clocks.complete(-HOUR, clocks.watermark()), 1, tmp_path / "restored")
    assert clocks.load() == [restored.name]
    clocks.sites.at_sender(CHANGE)
    partial = clocks.partial(timedelta(0), clocks.watermark())
    assert clocks.load() == [partial.name]
    assert equal(clocks.sites)


@pytest.mark.long
def test_receiver_whose_clock_was_behind_at_a_failover_takes_the_dates_as_they_are(
    clocks: WrongClocks, tmp_path: Path
) -> None:
    clocks.complete(timedelta(0))
    clocks.load()
    before = clocks.complete(2 * HOUR, clocks.watermark())
    clocks.sites.at_sender(CHANGE, DELETION)
    after = on_timeline(clocks.complete(2.1 * HOUR), 2, tmp_path / "after")
    assert clocks.load() == []
    assert clocks.parked() == [before.name, after.name]
    assert clocks.load(3 * HOUR) == [after.name]
    assert equal(clocks.sites)


class TestReturnToTheOldPrimary:
    """It was never rewound, and the receiver's checkpoint is still a point of its history."""

    @pytest.fixture
    def since(self, clocks: WrongClocks) -> Watermark:
        clocks.complete(-4 * HOUR)
        clocks.load()
        return clocks.watermark()

    @pytest.fixture
    def after(self, clocks: WrongClocks, since: Watermark, tmp_path: Path) -> Path:
        """A partial of the new primary, which starts from no known point."""
        assert since.timeline == 1
        return on_timeline(clocks.partial(-3 * HOUR, None), 2, tmp_path / "after")

    @pytest.mark.parametrize("kinds", ["partial complete", "complete partial"])
    def test_its_archives_are_applied(
        self, clocks: WrongClocks, since: Watermark, after: Path, kinds: str
    ) -> None:
        assert clocks.load() == [after.name]
        assert (clocks.watermark(), clocks.gaps()) == (since, 1)
        gaps = 1
        for number, kind in enumerate(kinds.split(), start=-2):
            clocks.sites.at_sender(CHANGE)
            dump = clocks.partial if kind == "partial" else clocks.complete
            path = dump(number * HOUR, since)
            assert clocks.load() == [path.name]
            # What the new primary changed is undone by a complete only.
            gaps = gaps if kind == "partial" else 0
            assert clocks.gaps() == gaps
            assert equal(clocks.sites)

    @pytest.mark.parametrize("late", [True, False])
    @pytest.mark.long
    def test_its_archive_that_is_dated_ahead_waits_for_its_time(
        self, clocks: WrongClocks, since: Watermark, after: Path, *, late: bool
    ) -> None:
        """The last archive of the new primary may arrive after it."""
        withheld = after.with_suffix(".late")
        if late:
            after.rename(withheld)
        clocks.load()
        clocks.sites.at_sender(CHANGE)
        ahead = clocks.partial(HOUR, since)
        assert clocks.load() == []
        if late:
            withheld.rename(after)
            assert clocks.load() == [after.name]
        assert clocks.parked() == [ahead.name]
        assert clocks.load() == []
        assert clocks.load(HOUR) == [ahead.name]
        assert equal(clocks.sites)

    @pytest.mark.long
    def test_it_overtakes_what_the_new_one_had_dated_ahead(
        self, clocks: WrongClocks, since: Watermark, tmp_path: Path
    ) -> None:
        wrong = on_timeline(clocks.complete(DAY), 2, tmp_path / "after")
        assert clocks.load() == []
        assert clocks.parked() == [wrong.name]
        clocks.sites.at_sender(CHANGE)
        right = clocks.partial(timedelta(0), since)
        assert clocks.load() == [right.name]
        assert clocks.load(2 * DAY) == []
        assert clocks.parked() == []
        assert equal(clocks.sites)
