"""What an application does to its database, drawn at random; keys are few, so histories collide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hypothesis import strategies as st

PARENTS, CHILDREN, TEAMS, ACCOUNTS = 4, 6, 2, 5
_parent = st.integers(1, PARENTS)
_child = st.integers(1, CHILDREN)
_team = st.integers(1, TEAMS)
_code = st.sampled_from("abc")
_account = st.integers(1, ACCOUNTS)
_email = st.sampled_from(["a@x", "A@x", "b@x", "B@X"])
_nick = st.sampled_from(["a", "A", "b", "c"])
_flag = st.sampled_from(["true", "false"])


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

_account_templates = (
    _values(
        "INSERT INTO app_account VALUES ({0}, 0, {1}, '{2}', '{3}', {4}, {{now}}, 'calm')",
        _account,
        _parent,
        _email,
        _nick,
        _flag,
    ),
    _values("UPDATE app_account SET email = '{1}' WHERE id = {0}", _account, _email),
    _values(
        "UPDATE app_account SET email = upper(email), nick = lower(nick) WHERE id > {0}", _account
    ),
    _values(
        "UPDATE app_account SET email = NULL WHERE email = '{1}';"
        " UPDATE app_account SET email = '{1}', touched = {{now}} WHERE id = {0}",
        _account,
        _email,
    ),
    _values(
        "DELETE FROM app_account WHERE email = '{1}' AND id <> {0};"
        " UPDATE app_account SET email = '{1}' WHERE id = {0}",
        _account,
        _email,
    ),
    _values("UPDATE app_account SET nick = '{1}' WHERE id = {0}", _account, _nick),
    _values(
        "UPDATE app_account SET main = false WHERE parent_id = {1};"
        " UPDATE app_account SET main = true, parent_id = {1} WHERE id = {0}",
        _account,
        _parent,
    ),
    _values("UPDATE app_account SET parent_id = {1} WHERE id = {0}", _account, _parent),
    _values("SELECT exchange_accounts({0}, {1})", _account, _account),
    _values("DELETE FROM app_account WHERE id = {0}", _account),
    _values(
        "UPDATE app_account SET mood = (enum_range(NULL::app_mood))["
        "cardinality(enum_range(NULL::app_mood)) - {1}] WHERE id = {0}",
        _account,
        st.integers(0, 1),
    ),
    # Where a migration has added the column.
    _values("UPDATE app_account SET extra = {0} WHERE id = {0}", _account),
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
    *_account_templates,
    _values(
        "UPDATE app_child SET parent_id = {1} WHERE parent_id = {0};"
        " UPDATE app_account SET parent_id = {1} WHERE parent_id = {0} AND NOT main;"
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
        "INSERT INTO app_team VALUES ({0}, 0, {0}, '{1}');"
        " INSERT INTO app_member VALUES ({0}, 0, {0})",
        _team,
        _code,
    ),
    _values("UPDATE app_team SET name = '{1}' WHERE id = {0}", _team, _code),
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
    INSERT INTO app_account
        SELECT n, 0, 1 + n % 3, chr(96 + n) || '@x', chr(96 + n), true, now(), 'calm'
          FROM generate_series(1, 3) n;
    INSERT INTO app_team VALUES (1, 0, 1, 'a');
    INSERT INTO app_member VALUES (1, 0, 1);
    INSERT INTO app_tag VALUES ('a', 'b', 0, 1, 1)
"""
