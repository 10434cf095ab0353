"""A settings file that is written is read as the same values by all that read it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.settings.env_file import UnwritableValueError, env_line, read_differently
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

VALUES = [
    *("plain", "two words", "it's", 'a"b', "a\\b\\", "#x", " x ", "$x", "ñ", "a=b#c", "%24"),
    *(
        "`x`",
        "\\n",
        "\\'",
        "\\",
        "'",
        '"',
        "a\tb",
        "host=x password='it\\'s \"$x\"'",
        "\\$x",
        "\u0085",
    ),
]


def read_by_systemd(line: str, folder: Path) -> str:
    """Read a value with the parser of ``EnvironmentFile=``, which also reads os-release.

    systemd-firstboot greets with a value of that file before it asks its first question.
    """
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / "os-release").write_text(f"ID=x\n{line}\nVERSION=1\n")
    words = ["systemd-firstboot", f"--root={folder}", "--prompt-hostname"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    greeting = done.stdout.decode()
    start, end = "Welcome to your new installation of ", "!\n\nPlease configure your system!"
    return greeting[greeting.index(start) + len(start) : greeting.index(end)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("systemd-firstboot") is None:
        skip_unless_in_ci("systemd is not installed")
    return tmp_path_factory.mktemp("root")


@pytest.mark.parametrize("value", VALUES)
def test_every_value_is_read_as_it_was_written(root: Path, value: str) -> None:
    line = env_line("PRETTY_NAME", value)
    file = root / "file"
    file.write_text(f"A=1\n{line}\nB=2\n")
    assert dotenv_values(file) == {"A": "1", "PRETTY_NAME": value, "B": "2"}
    assert read_by_systemd(line, root) == value


@pytest.mark.long
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1) | st.text("ab'\"\\`$# \t{", min_size=1))
def test_any_value_is_read_as_it_was_written_or_refused(root: Path, value: str) -> None:
    try:
        line = env_line("PRETTY_NAME", value)
    except UnwritableValueError:
        assert "${" in value or not value.isprintable()
    else:
        assert read_by_systemd(line, root) == value


READ_ALIKE = [
    *("PRETTY_NAME=plain", "PRETTY_NAME = two words ", "PRETTY_NAME='#1 $x'", 'PRETTY_NAME="a#b"'),
    *(r'PRETTY_NAME="pa\\ss \" $x"', "PRETTY_NAME=it's#1"),
]
READ_DIFFERENTLY = [
    *(r"PRETTY_NAME=pa\ss", "PRETTY_NAME=a${x}b", "PRETTY_NAME='a${x}b'", "PRETTY_NAME=abc #1"),
    *(r'PRETTY_NAME="a\nb"', r"PRETTY_NAME='it\'s'", "export PRETTY_NAME=x"),
    *("PRETTY_NAME='a' # b", "PRETTY_NAME='never closed"),
]


def read_by_dotenv(line: str, folder: Path) -> str:
    (folder / "file").write_text(f"ID=x\n{line}\nVERSION=1\n")
    return dotenv_values(folder / "file").get("PRETTY_NAME") or ""


@pytest.mark.parametrize("line", READ_ALIKE)
def test_a_line_that_all_read_alike_is_not_named(root: Path, line: str) -> None:
    assert read_differently(f"A=1\n{line}\nB=2\n") == []
    assert read_by_dotenv(line, root) == read_by_systemd(line, root)


@pytest.mark.parametrize("line", READ_DIFFERENTLY)
def test_a_line_that_systemd_reads_otherwise_is_named(line: str) -> None:
    assert read_differently(f"A=1\n{line}\n") in (["PRETTY_NAME"], ["line 2"])


@pytest.mark.long
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab'\"\\$# \t{}n", min_size=1, max_size=8))
def test_any_line_that_is_not_named_is_read_alike(root: Path, value: str) -> None:
    line = f"PRETTY_NAME={value}"
    expected = read_by_dotenv(line, root)
    if expected and not read_differently(line):  # an empty value is greeted as "Linux"
        assert read_by_systemd(line, root) == expected


@pytest.mark.parametrize("value", VALUES)
def test_no_line_that_is_written_is_named(value: str) -> None:
    assert read_differently(env_line("AR_SYNC_X", value)) == []


@pytest.mark.parametrize("value", ["two words", 'a"b', "$x", "`x`", " #x", "a&b;c", "*"])
def test_a_shell_reads_it_too_without_single_quotes_and_backslashes(value: str) -> None:
    script = f'{env_line("AR_SYNC_X", value)}; printf %s "$AR_SYNC_X"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == value
    assert shlex.split(env_line("AR_SYNC_X", value)) == [f"AR_SYNC_X={value}"]


@pytest.mark.parametrize("value", ["a${HOME}b", "two\nlines", "a\rb", "a\x1bb", "a\0b", "\udcf1"])
def test_a_value_that_would_be_read_as_another_is_refused(value: str) -> None:
    with pytest.raises(UnwritableValueError):
        env_line("AR_SYNC_X", value)
