"""Every variable, and no other, is in its example file and in the manual, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    load_receiver_settings,
    load_sender_settings,
    variables,
)

ROOT = Path(__file__).parents[2]
SENDER, RECEIVER = variables(SenderSettings), variables(ReceiverSettings)
EXAMPLES = {"sender.env.example": SENDER, "receiver.env.example": RECEIVER}
_LINE = re.compile(r"^(?P<off>#)?(?P<name>AR_SYNC_\w+)=(?P<value>.*)$", re.MULTILINE)
_ROW = re.compile(
    r"^\| `(?P<name>AR_SYNC_\w+)` \| (?P<side>\w+) \| (?P<default>[^|]+) \| (?P<meaning>.+) \|$",
    re.MULTILINE,
)


@pytest.mark.parametrize("file", EXAMPLES)
def test_example_file_lists_every_variable_of_its_side_once_and_no_other(file: str) -> None:
    names = [match["name"] for match in _LINE.finditer((ROOT / file).read_text("utf-8"))]
    assert sorted(names) == sorted(EXAMPLES[file])


@pytest.mark.parametrize("file", EXAMPLES)
def test_example_file_shows_defaults_switched_off_and_what_is_required_switched_on(
    file: str,
) -> None:
    for match in _LINE.finditer((ROOT / file).read_text("utf-8")):
        variable = EXAMPLES[file][match["name"]]
        assert bool(match["off"]) == (variable.default is not None), variable.name
        expected = variable.example if variable.default is None else variable.default
        assert match["value"].strip('"') == expected, variable.name


@pytest.mark.parametrize("file", EXAMPLES)
def test_every_variable_of_an_example_file_has_its_meaning_above_it(file: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    for match in _LINE.finditer(text):
        comment = text[: match.start()].rstrip("\n").rpartition("\n\n")[2]
        words = " ".join(line.removeprefix("#").strip() for line in comment.splitlines())
        assert words.startswith(EXAMPLES[file][match["name"]].meaning), match["name"]


@pytest.mark.parametrize("file", EXAMPLES)
@pytest.mark.parametrize("off", ["", "#"], ids=["as it is", "every line switched on"])
def test_example_file_can_be_loaded_as_dagster_reads_it(
    file: str, off: str, tmp_path: Path
) -> None:
    env_file = tmp_path / ".env"
    text = (ROOT / file).read_text("utf-8")
    env_file.write_text(re.sub(rf"^{off}(?=AR_SYNC_)", "", text, flags=re.MULTILINE), "utf-8")
    environ = {name: value or "" for name, value in dotenv_values(env_file).items()}
    for name, value in environ.items():
        if value.startswith("/"):  # folders and files of the machine on which it runs
            place = tmp_path / value.removeprefix("/")
            folder = place if "FLDR" in name else place.parent
            folder.mkdir(parents=True, exist_ok=True)
            if "FLDR" not in name:
                place.touch()
            environ[name] = str(place)
    environ["SSH_AUTH_SOCK"] = "/run/agent"

    load = load_sender_settings if file.startswith("sender") else load_receiver_settings
    assert any("ADMINS" in warning for warning in load(environ).warnings)


def test_manual_lists_every_variable_once_and_no_other() -> None:
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    names = [match["name"] for match in _ROW.finditer(text)]
    assert sorted(names) == sorted(SENDER | RECEIVER)
    assert set(re.findall(r"AR_SYNC_[A-Z_]*[A-Z]", text)) == set(SENDER | RECEIVER)


def test_manual_shows_side_default_and_secrecy() -> None:
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for match in _ROW.finditer(text):
        name = match["name"]
        variable = SENDER.get(name) or RECEIVER[name]
        side = "both" if name in SENDER and name in RECEIVER else "sender"
        side = side if name in SENDER else "receiver"
        default = {None: "required", "": "none"}.get(variable.default, f"`{variable.default}`")
        assert (match["side"], match["default"]) == (side, default), name
        assert match["meaning"].endswith("Secret.") == variable.secret, name


def test_no_secret_has_an_example_or_a_default() -> None:
    for variable in (SENDER | RECEIVER).values():
        if variable.secret:
            assert not variable.default
            assert "password" not in variable.example
            assert re.search(r"://[^/]*:[^/]*@", variable.example) is None
