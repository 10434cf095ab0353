"""What an application does to its database, drawn at random; keys are few, so histories collide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hypothesis import strategies as st

PARENTS, CHILDREN, TEAMS = 4, 6, 2
_parent = st.integers(1, PARENTS)
_child = st.integers(1, CHILDREN)
_team = st.integers(1, TEAMS)
_code = st.sampled_from("abc")


@dataclass(frozen=True)
class Write:
    """Statements that belong together.

    Attributes:
        savepoint: None: plain; "keep" or "undo": inside a savepoint with this end.
    """

    template: str
    savepoint: str | None = None

    def sql(self, now: datetime) -> str:
        """The statements, with ``{now}`` filled in."""
        statements = self.template.replace("{now}", f"'{now.isoformat()}'")
        if self.savepoint is None:
            return statements
        end = "RELEASE" if self.savepoint == "keep" else "ROLLBACK TO"
        return f"SAVEPOINT a; {statements}; {end} a"


def _values(pattern: str, *parts: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda drawn: pattern.format(*drawn, now="{now}"))


_DEEP_DELETE = (
    "DELETE FROM app_grandchild g USING app_child c WHERE c.id = g.child_id AND c.parent_id = {0};"
    " DELETE FROM app_child WHERE parent_id = {0}; DELETE FROM app_tag WHERE parent_id = {0};"
    " UPDATE app_parent SET boss_id = NULL WHERE boss_id = {0};"
    " DELETE FROM app_parent WHERE id = {0}"
)

_templates = st.one_of(
    _values("INSERT INTO app_parent VALUES ({0}, 0, '{1}', 'l', NULL)", _parent, _code),
    _values(
        "INSERT INTO app_parent VALUES ({0}, 0, NULL, 'l', {1}) ON CONFLICT (id) DO UPDATE"
        " SET boss_id = excluded.boss_id",
        _parent,
        _parent,
    ),
    _values("UPDATE app_parent SET code = '{1}' WHERE id = {0}", _parent, _code),
    _values("UPDATE app_parent SET code = NULL WHERE id = {0}", _parent),
    _values(
        "UPDATE app_parent SET code = NULL WHERE code = '{1}';"
        " UPDATE app_parent SET code = '{1}' WHERE id = {0}",
        _parent,
        _code,
    ),
    _values("UPDATE app_parent SET label = '{1}' WHERE id = {0}", _parent, _code),
    _values("UPDATE app_parent SET boss_id = NULL WHERE id = {0}", _parent),
    _values("SELECT exchange_codes({0}, {1})", _parent, _parent),
    _values(_DEEP_DELETE, _parent),
    _values(
        "UPDATE app_child SET parent_id = {1} WHERE parent_id = {0};"
        " UPDATE app_tag SET parent_id = {1} WHERE parent_id = {0};"
        " UPDATE app_parent SET boss_id = {1} WHERE boss_id = {0};"
        " DELETE FROM app_parent WHERE id = {0}",
        _parent,
        _parent,
    ),
    _values("INSERT INTO app_child VALUES ({0}, 0, {1}, {{now}}, 0)", _child, _parent),
    _values("UPDATE app_child SET amount = amount + 1, changed = {{now}} WHERE id = {0}", _child),
    _values("UPDATE app_child SET amount = amount - 1 WHERE id = {0}", _child),
    _values("UPDATE app_child SET parent_id = {1} WHERE id = {0}", _child, _parent),
    _values(
        "DELETE FROM app_grandchild WHERE child_id = {0}; DELETE FROM app_child WHERE id = {0}",
        _child,
    ),
    _values("INSERT INTO app_grandchild VALUES ({0}, 0, {1}, {{now}})", _child, _child),
    _values("DELETE FROM app_grandchild WHERE id = {0}", _child),
    _values(
        "INSERT INTO app_team VALUES ({0}, 0, {0}); INSERT INTO app_member VALUES ({0}, 0, {0})",
        _team,
    ),
    _values("UPDATE app_member SET team_id = {1} WHERE id = {0}", _team, _team),
    _values("UPDATE app_team SET captain_id = {1} WHERE id = {0}", _team, _team),
    _values(
        "DELETE FROM app_member WHERE team_id = {0}; DELETE FROM app_team WHERE id = {0}", _team
    ),
    _values(
        "INSERT INTO app_tag VALUES ('{0}', '{1}', 0, {2}, 1.0) ON CONFLICT (name, part) DO UPDATE"
        " SET value = app_tag.value * 1.00, parent_id = excluded.parent_id",
        _code,
        _code,
        _parent,
    ),
    _values("DELETE FROM app_tag WHERE name = '{0}'", _code),
)

writes = st.builds(Write, _templates, st.sampled_from([None, None, "keep", "undo"]))
transactions = st.lists(writes, min_size=1, max_size=4)
"""Writes of one transaction."""

BEGINNING = """
    INSERT INTO app_parent SELECT n, 0, chr(96 + n), 'l', NULL FROM generate_series(1, 3) n;
    INSERT INTO app_child
        SELECT n, 0, 1 + n % 3, now() - interval '1 day', n FROM generate_series(1, 5) n;
    INSERT INTO app_grandchild
        SELECT n, 0, n, now() - interval '1 day' FROM generate_series(1, 3) n;
    INSERT INTO app_team VALUES (1, 0, 1);
    INSERT INTO app_member VALUES (1, 0, 1);
    INSERT INTO app_tag VALUES ('a', 'b', 0, 1, 1)
"""
