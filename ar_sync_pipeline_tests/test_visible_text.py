"""Text of unknown origin is shown literally, and has no effect where it is shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ar_sync_pipeline.errors import LONGEST_PROBLEM, LONGEST_REMEDY, ParkedError
from ar_sync_pipeline.visible_text import (
    as_markdown,
    listed,
    names_in_words,
    one_line,
    quoted,
    visible,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


@pytest.mark.parametrize(
    "text",
    [
        "ñandú grande, ¿qué?",
        "公交车\u3000图片",
        "автобус",
        "حافلة",
        "🚌 👩\u200d🚀 👍🏽 ❤️\u200d🔥 🇨🇱",
        "e\u0301",
        "back\\slash `tick` |pipe| <b>",
    ],
)
def test_letters_of_every_script_and_emoji_stay(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07\x7f\x9b", r"\x1b[2J\x07\x7f\x9b"),
        ("\0", r"\x00"),
        ("\u202egpj.exe\u2066\u200f", r"\u202egpj.exe\u2066\u200f"),
        ("a\u2028b\u2029c\u0085d", r"a\u2028b\u2029c\x85d"),
        ("\udc80", r"\udc80"),
        ("zero\u200bwidth\u200djoiner\ufeff", r"zero\u200bwidth\u200djoiner\ufeff"),
        ("soft\u00adhyphen no\u00a0break", r"soft\xadhyphen no\xa0break"),
        ("tag\U000e0041private\ue000", r"tag\U000e0041private\ue000"),
        ("filler\u3164\u115f\u2800\u034f", r"filler\u3164\u115f\u2800\u034f"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(text=ANY_TEXT, longest=st.integers(1, 40))
def test_any_text_is_one_bounded_line_that_a_terminal_prints(text: str, longest: int) -> None:
    shown = visible(text, longest)
    assert len(shown) <= longest
    assert len(shown.splitlines()) <= 1
    assert shown.replace("\u3000", "").replace("\u200d", "").isprintable()
    assert shown.encode().decode() == shown
    assert visible(visible(text)) == visible(text)


def test_a_long_text_costs_no_more_than_what_is_shown_of_it() -> None:
    assert visible("\x1b" * 10_000_000, 10) == r"\x1b\x1b\x"[:9] + "…"
    assert one_line("a\n\n  b " * 1_000_000, 8) == "a b a b…"
    assert quoted("x" * 5000) == "'" + "x" * 199 + "…'"


def test_lists_are_cut_with_their_number() -> None:
    assert listed(["a"] * 5) == ["a"] * 5
    assert listed([str(n) for n in range(1005)]) == ["0", "1", "2", "3", "4", "and 1,000 more"]


def test_names_in_words_are_visible_and_few() -> None:
    assert names_in_words([]) == ""
    assert names_in_words(iter(["bus", "a\nb"])) == r"bus, a\nb"
    assert names_in_words("abcdefg") == "a, b, c, d, e, and 2 more"


class _ListedError(ParkedError):
    of_lines = True


@given(problem=ANY_TEXT, remedy=ANY_TEXT)
def test_no_error_can_forget_it(problem: str, remedy: str) -> None:
    sentence = str(ParkedError(problem, remedy=remedy))
    assert len(sentence.splitlines()) == 1
    assert sentence == visible(sentence)


def test_every_error_is_cut() -> None:
    error = ParkedError("p" * 2_500_000, remedy="r" * 2_500_000)
    assert (len(error.problem), len(error.remedy)) == (LONGEST_PROBLEM, LONGEST_REMEDY)


def test_error_that_lists_lines_keeps_them_and_makes_each_visible() -> None:
    error = _ListedError("2 errors\n  one \x1b[1m\n  " + "x" * 5000, remedy="correct them")
    first, second, third = error.problem.split("\n")
    assert (first, second) == ("2 errors", r"  one \x1b[1m")
    assert len(third) == LONGEST_PROBLEM


def rendered(text: str) -> list[Token]:
    """Return the inline tokens of a table's cell, by CommonMark with GitHub's tables."""
    table = f"| name |\n|---|\n| {as_markdown(text)} |"
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 2, text
    return cells[1].children or []


@example(text="__0__")
@given(text=ANY_TEXT | st.text("ab|`*_[]()<>@:/\\ &!~#.w", max_size=20))
def test_markdown_shows_any_text_as_it_reads_in_one_cell(text: str) -> None:
    tokens = rendered(text)
    assert {token.type for token in tokens} <= {"text", "code_inline", "text_special"}
    shown = "".join(token.content for token in tokens)
    assert "".join(shown.split()) == "".join(visible(text).split())


@pytest.mark.parametrize(
    "text",
    ["aes128-gcm@openssh.com", "https://evil.example/x", "www.evil.example", "see <mailto:a@b.c>"],
)
def test_markdown_has_no_link(text: str) -> None:
    linkable = [t.content for t in rendered(text) if t.type != "code_inline"]
    assert not any("@" in part or "evil" in part for part in linkable)


@pytest.mark.parametrize(
    "text", ["# head", "- item", "1. item", "+ item", "> quote", "===", "1) x"]
)
def test_markdown_line_begins_no_block(text: str) -> None:
    first, *_ = MarkdownIt("commonmark").parse(as_markdown(text))
    assert first.type == "paragraph_open"
