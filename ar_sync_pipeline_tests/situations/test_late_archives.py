"""Archives that come late, under cascades: what is the receiver's of newer rows survives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline_tests.fix_sites import recent_window, rows, watermark_of
from ar_sync_pipeline_tests.situations.comparison import compare, orphans
from ar_sync_pipeline_tests.situations.fix_situations import StartSituation
from ar_sync_pipeline_tests.situations.running import Running, run_sql
from ar_sync_pipeline_tests.situations.situation import Mode, Situation

ACTIONS = ("ON DELETE CASCADE", "ON DELETE SET NULL", "")
MODES = (Mode.SUPERUSER, Mode.LEAST)
LateSites = Callable[[str, Mode], "Late"]


class Late:
    """Two servers with parents, children, a tree and notes on all of them."""

    def __init__(self, running: Running) -> None:
        self.running = running
        running.begin()
        self.first = self._since()
        self._late: list[Path] = []

    def complete(self, since: Watermark) -> Path:
        return self.running.sites.complete(since=since)

    def partial(self, sender: str, since: Watermark) -> Path:
        run_sql(self.running.servers.sender, sender)
        return self.running.sites.partial(recent_window(), since=since)

    def withhold(self, path: Path) -> Watermark:
        """An archive that is still on its way."""
        mark = watermark_of(path)
        self._late.append(path.rename(path.with_name(path.name + ".late")))
        return mark

    def deliver(self) -> None:
        for path in self._late:
            path.rename(path.with_name(path.name.removesuffix(".late")))
        self._late.clear()

    def load(self) -> None:
        report = self.running.sites.load()
        assert report.refused == (), str(report.refused)

    def note(self, parent: int, child: int) -> None:
        run_sql(
            self.running.servers.receiver,
            f"INSERT INTO own (a, note) VALUES ({parent}, 'parent {parent}');"
            f"INSERT INTO own_child (b, note) VALUES ({child}, 'child {child}');"
            f"UPDATE t_a SET seen = id WHERE id = {parent}",
        )

    def notes(self) -> list[tuple[object, ...]]:
        query = "SELECT a, note FROM own UNION ALL SELECT b, note FROM own_child ORDER BY 2"
        return rows(self.running.servers.receiver, query)

    def seen(self) -> list[tuple[object, ...]]:
        query = "SELECT id FROM t_a WHERE seen = id ORDER BY id"
        return rows(self.running.servers.receiver, query)

    def assert_equal(self) -> None:
        servers = self.running.servers
        assert compare(servers.sender, servers.receiver) == {}
        assert orphans(servers.receiver) == []

    def _since(self) -> Watermark:
        assert self.running.since is not None
        return self.running.since


@pytest.fixture
def late_sites(start_situation: StartSituation) -> LateSites:
    def start(action: str, mode: Mode) -> Late:
        situation = Situation(
            "late",
            f"CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE, up int REFERENCES t_a {action});"
            f"CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a {action})",
            rows="INSERT INTO t_a VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 2);"
            "INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 3)",
            receiver="ALTER TABLE t_a ADD seen int;"
            f"CREATE TABLE own (id serial PRIMARY KEY, a int REFERENCES t_a {action}, note text);"
            "CREATE TABLE own_child (id serial PRIMARY KEY, b int NOT NULL"
            f" REFERENCES t_b {action.replace('SET NULL', 'CASCADE')}, note text)",
        )
        return Late(start_situation(situation, mode))

    return start


every_action = pytest.mark.parametrize("action", ACTIONS, ids=["cascade", "set_null", "plain"])
both_modes = pytest.mark.parametrize("mode", MODES)


@every_action
@both_modes
@pytest.mark.long
def test_late_complete_that_lacks_newer_rows_takes_no_note_of_theirs(
    late_sites: LateSites, action: str, mode: Mode
) -> None:
    sites = late_sites(action, mode)
    mark = sites.withhold(sites.complete(sites.first))
    sites.partial("INSERT INTO t_a VALUES (9, 'new', 1); INSERT INTO t_b VALUES (9, 9);"
                  "UPDATE t_a SET up = 9 WHERE id = 3", sites.first)  # fmt: skip
    sites.load()
    sites.note(9, 9)
    sites.note(2, 2)
    sites.deliver()
    sites.load()
    sites.assert_equal()
    assert sites.notes() == [(2, "child 2"), (9, "child 9"), (2, "parent 2"), (9, "parent 9")]
    assert sites.seen() == [(2,), (9,)]
    assert mark is not None


@every_action
@both_modes
@pytest.mark.long
def test_late_complete_from_before_a_swap_is_followed_by_the_swap(
    late_sites: LateSites, action: str, mode: Mode
) -> None:
    sites = late_sites(action, mode)
    sites.note(1, 1)
    sites.note(2, 2)
    sites.withhold(sites.complete(sites.first))
    sites.partial("UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
                  "UPDATE t_a SET u = 'b' WHERE id = 1", sites.first)  # fmt: skip
    sites.load()
    sites.deliver()
    sites.load()
    sites.assert_equal()
    assert [note for _, note in sites.notes()] == ["child 1", "child 2", "parent 1", "parent 2"]
    assert sites.seen() == [(1,), (2,)]


@every_action
@both_modes
@pytest.mark.long
def test_late_complete_with_rows_that_were_taken_over_since(
    late_sites: LateSites, action: str, mode: Mode
) -> None:
    """The new row has the value that a row of the late complete still has."""
    sites = late_sites(action, mode)
    sites.withhold(sites.complete(sites.first))
    sites.partial("DELETE FROM t_b WHERE a = 3; DELETE FROM t_a WHERE id = 3;"
                  "INSERT INTO t_a VALUES (9, 'c', 1); INSERT INTO t_b VALUES (9, 9)",
                  sites.first)  # fmt: skip
    sites.load()
    sites.note(9, 9)
    sites.deliver()
    sites.load()
    notes = [note for _, note in sites.notes()]
    assert notes == ["child 9", "parent 9"]
    assert sites.seen() == [(9,)]
    sites.complete(sites.first)
    sites.load()
    sites.assert_equal()
    assert [note for _, note in sites.notes()] == notes


@every_action
@both_modes
@pytest.mark.long
def test_late_partial_between_two_others_gives_rows_back_nothing_that_is_old(
    late_sites: LateSites, action: str, mode: Mode
) -> None:
    sites = late_sites(action, mode)
    sites.note(1, 1)
    late = sites.partial("UPDATE t_a SET u = 'x' WHERE id = 1; UPDATE t_a SET u = 'a'"
                         " WHERE id = 2; INSERT INTO t_a VALUES (9, 'b')",
                         sites.first)  # fmt: skip
    mark = sites.withhold(late)
    second = sites.partial("UPDATE t_a SET u = 'y' WHERE id = 9; UPDATE t_a SET u = 'b', up = NULL"
                           " WHERE id = 1; INSERT INTO t_b VALUES (9, 9)", mark)  # fmt: skip
    assert watermark_of(second).snapshot_at > mark.snapshot_at
    # After a gap it may have to wait; the one that is late closes it.
    sites.running.sites.load()
    sites.deliver()
    sites.load()
    sites.assert_equal()
    assert [note for _, note in sites.notes()] == ["child 1", "parent 1"]
    assert sites.seen() == [(1,)]


@both_modes
@pytest.mark.long
def test_two_late_completes_and_the_partials_between_them(
    late_sites: LateSites, mode: Mode
) -> None:
    sites = late_sites("ON DELETE CASCADE", mode)
    sites.withhold(sites.complete(sites.first))
    newer = "INSERT INTO t_a VALUES (8, 'h'); INSERT INTO t_b VALUES (8, 8)"
    one = watermark_of(sites.partial(newer, sites.first))
    sites.load()
    sites.withhold(sites.complete(one))
    sites.partial("INSERT INTO t_a VALUES (9, 'i', 8); UPDATE t_b SET a = 9 WHERE id = 8", one)
    sites.load()
    sites.note(8, 8)
    sites.note(9, 3)
    sites.deliver()
    sites.load()
    sites.assert_equal()
    assert len(sites.notes()) == 4
    assert sites.seen() == [(8,), (9,)]
