from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ar_sync_pipeline.transform.errors import TransformSpecificationError
from ar_sync_pipeline.transform.specification import (
    BuiltinTransform,
    CommandTransform,
    NoTransform,
    command_line,
    parse_transform,
)

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
END = datetime(2026, 11, 24, 12, 5, tzinfo=UTC)


def _words(text: str, archive: str = "a.tar") -> list[str]:
    specification = parse_transform(text)
    assert isinstance(specification, CommandTransform)
    return command_line(
        specification, archive=archive, minutes=15, window_start=START, window_end=END
    )


def test_the_three_forms_are_read() -> None:
    assert parse_transform("builtin:transapp") == BuiltinTransform("transapp")
    assert parse_transform(" none ") == NoTransform()
    assert parse_transform("command:python 'my file.py' -v") == CommandTransform(
        ("python", "my file.py", "-v")
    )


def test_placeholders_are_replaced_inside_their_word() -> None:
    assert _words("command:run --from={window_start} --to={window_end} {archive}:{minutes}") == [
        "run",
        "--from=2026-11-24T12:00:00+00:00",
        "--to=2026-11-24T12:05:00+00:00",
        "a.tar:15",
    ]


@pytest.mark.parametrize("archive", ["a b.tar", "$(rm x);'\".tar", "{minutes}", ""])
def test_d36_a_value_stays_one_word_with_any_content(archive: str) -> None:
    assert _words("command:run {archive} end", archive) == ["run", archive, "end"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a transform"),
        ("transapp", "is not a transform"),
        ("none:x", "is not a transform"),
        ("builtin:other", "no built-in transform `other`"),
        ("builtin:", "no built-in transform"),
        ("command:", "names no program"),
        ("command:''", "names no program"),
        ("command:run 'x", "cannot be split"),
        ("command:run {nam}", "unknown placeholder {nam}"),
        ("command:run {}", "unknown placeholder {}"),
    ],
)
def test_a_wrong_specification_is_refused_with_its_reason(text: str, problem: str) -> None:
    with pytest.raises(TransformSpecificationError, match="(?s)" + problem.replace("{", r"\{")):
        parse_transform(text)


def test_an_unknown_placeholder_is_refused_when_the_command_is_made_by_hand() -> None:
    with pytest.raises(TransformSpecificationError, match="placeholder"):
        command_line(
            CommandTransform(("run", "{other}")),
            archive="a",
            minutes=1,
            window_start=START,
            window_end=END,
        )
