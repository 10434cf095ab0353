"""Names that are recognized as safe at once obey every rule for names."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.member_names import is_plain_name, name_problem
from ar_sync_pipeline.media.safe_paths import media_name_problem

PARTS = st.lists(st.text(alphabet="ab ./\\\n\x00\x7f-~!:ñ\u2028", max_size=6), max_size=5)


@given(PARTS.map("/".join) | st.text())
@example("a" * 255)
@example("a" * 256)
@example("/".join(["a" * 255] * 5))
def test_plain_names_obey_every_rule(name: str) -> None:
    if not is_plain_name(name):
        return
    assert len(name) <= 1024
    assert name.isascii()
    assert name.isprintable()
    for component in name.split("/"):
        assert component
        assert not component.startswith(".")
        assert len(component) <= 255
    assert name_problem(name) is None
    assert media_name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    ["a.jpeg", "2017/05/a b (1).jpeg", "-rf", "a..b", "~x", "!", "T10:20:30.jpeg", "a" * 255],
)
def test_usual_names_are_plain(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", ".", "..", "a/../b", ".a", "a/.b", ".ar-sync-1", "a\n", "a\x7f", "ñ"],
)
def test_other_names_are_not(name: str) -> None:
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", [".hidden/a.jpeg", "ñandú.jpeg", "a/.b", " a"])
def test_safe_names_that_are_not_plain_stay_safe(name: str) -> None:
    assert name_problem(name) is None
