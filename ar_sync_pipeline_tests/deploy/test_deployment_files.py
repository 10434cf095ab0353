"""The files of deploy/: systemd takes the units, and every command in them exists as written."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_shared.yaml_utils import load_yaml_from_path
from dagster_webserver.cli import dagster_webserver
from dotenv import dotenv_values

from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
INSTALLED_PROGRAMS = "/opt/ar_sync/current/.venv/bin"
INSTALLED_WORKSPACE = "/etc/ar_sync/workspace.yaml"
WORKSPACE = str(DEPLOY / "workspace" / "control_plane.yaml")
PROGRAMS: Mapping[str, click.Command] = {
    "dagster": create_dagster_cli(),  # type: ignore[no-untyped-call]
    "dagster-daemon": create_dagster_daemon_cli(),
    "dagster-webserver": dagster_webserver,
}
EXECUTED = re.compile(r"^Exec\w+=(.*)$", re.MULTILINE)


def parse(words: list[str]) -> dict[str, Any]:
    """Let a program read its command line without running it; returns the options."""
    command = PROGRAMS[Path(words[0]).name]
    arguments = [word.replace(INSTALLED_WORKSPACE, WORKSPACE) for word in words[1:]]
    context = command.make_context(words[0], arguments)
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]  # noqa: SLF001  where click keeps them
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, name
        context = found.make_context(name, rest, parent=context)
        command = found
    return context.params


def assert_module_exists(options: Mapping[str, Any]) -> None:
    if options.get("module_name"):
        assert importlib.util.find_spec(options["module_name"]) is not None


def unit_commands(unit: Path) -> Iterator[list[str]]:
    """The command lines of Dagster's programs in a unit, its variables filled in."""
    text = unit.read_text()
    variables = dict(re.findall(r"([A-Z_]+)=(\S+)", "\n".join(re.findall(r"Environment=.*", text))))
    for line in EXECUTED.findall(text):
        program = re.search(rf"{INSTALLED_PROGRAMS}[^;]*", line)
        if program:
            yield shlex.split(re.sub(r"\$\{?(\w+)\}?", lambda v: variables[v[1]], program[0]))


@pytest.fixture
def installed_units(tmp_path: Path) -> Path:
    """The units, with the programs where this machine has them."""
    folder = tmp_path / "units"
    shutil.copytree(DEPLOY / "systemd", folder)
    for unit in folder.glob("*.service"):
        here = str(Path(sys.executable).parent)
        unit.write_text(unit.read_text().replace(INSTALLED_PROGRAMS, here))
    return folder


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        skip_unless_in_ci("systemd-analyze is not installed")
    return subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "NO_COLOR": "1"},
    )


def test_systemd_takes_every_unit_without_a_warning(installed_units: Path) -> None:
    names = [str(unit) for unit in sorted(installed_units.glob("*.service"))]
    assert len(names) == len(UNITS) == 5
    done = analyze(installed_units, "verify", "--man=no", *names)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_units_are_confined(installed_units: Path) -> None:
    """systemd's own measure, from 0 to 10: below 2.5 for every unit, so the drop-in is read."""
    for unit in sorted(installed_units.glob("*.service")):
        done = analyze(installed_units, "security", "--offline=true", "--threshold=25", str(unit))
        assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_programs_understand_what_a_unit_gives_them(unit: Path) -> None:
    commands = list(unit_commands(unit))
    assert commands or unit.stem == "ar-sync-tunnel"
    for words in commands:
        options = parse(words)
        assert_module_exists(options)


def test_ports_and_names_agree_between_units_and_workspaces() -> None:
    ports = {
        unit.stem.removeprefix("ar-sync-"): options["port"]
        for unit in UNITS
        for words in unit_commands(unit)
        if "-m" in words and (options := parse(words))
    }
    assert ports == {"sender": 4266, "receiver": 4267}
    for name in ("sender", "receiver", "control_plane", "compose"):
        for server in servers(DEPLOY / "workspace" / f"{name}.yaml"):
            assert server["port"] == ports[server["location_name"]]


def lines_of(unit: Path) -> list[str]:
    """The lines of a unit, with those of the drop-in that every unit reads first."""
    common = (DEPLOY / "systemd/ar-sync-.service.d/common.conf").read_text()
    return [*common.splitlines(), *unit.read_text().splitlines()]


def values_of(unit: Path, name: str) -> list[str]:
    """All values of a key, in the order in which systemd reads them."""
    lines = [line.partition("=") for line in lines_of(unit)]
    return [word for key, _, value in lines if key == name for word in value.split()]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_only_code_servers_have_settings_and_keys_of_a_side(unit: Path) -> None:
    side = unit.stem in {"ar-sync-sender", "ar-sync-receiver"}
    read = values_of(unit, "EnvironmentFile")
    assert ("/etc/ar_sync/.env" in read) == side
    assert "-/etc/ar_sync/storage.env" in read
    hidden = set(values_of(unit, "InaccessiblePaths"))
    assert ({"-/etc/ar_sync/.env", "-/etc/ar_sync/id_ed25519"} <= hidden) == (not side)
    if unit.stem in {"ar-sync-webserver", "ar-sync-daemon"}:
        # Dagster reads `.env` in the folder where it is started.
        assert values_of(unit, "WorkingDirectory")[-1] == "/var/lib/ar_sync/dagster"
        assert not any("AR_SYNC_" in word for word in values_of(unit, "Environment"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_what_a_unit_writes_is_closed_to_others(unit: Path) -> None:
    assert values_of(unit, "StateDirectoryMode") == ["0700"]
    media = unit.stem == "ar-sync-receiver"
    assert values_of(unit, "UMask") == ["0022" if media else "0077"]


def test_code_servers_listen_on_loopback() -> None:
    addresses = {
        unit.stem: options["host"]
        for unit in UNITS
        for words in unit_commands(unit)
        if "-h" in words and (options := parse(words))
    }
    assert addresses == {
        "ar-sync-sender": "127.0.0.1",
        "ar-sync-receiver": "127.0.0.1",
        "ar-sync-webserver": "127.0.0.1",
    }


def servers(workspace: Path) -> list[dict[str, Any]]:
    loaded = load_yaml_from_path(str(workspace))
    assert isinstance(loaded, dict)
    return [entry["grpc_server"] for entry in loaded["load_from"]]


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded = load_yaml_from_path(str(DEPLOY / "compose.yaml"))
    assert isinstance(loaded, dict)
    return loaded


def test_programs_understand_what_the_compose_file_gives_them(compose: dict[str, Any]) -> None:
    own = {name: s for name, s in compose["services"].items() if s["image"] == "ar_sync_pipeline"}
    assert set(own) == {"sender", "receiver", "daemon", "webserver"}
    for service in own.values():
        options = parse(service["command"])
        assert_module_exists(options)
        if "healthcheck" in service:
            health = parse(service["healthcheck"]["test"][1:])
            assert health["port"] == options["port"]


def test_compose_file_names_only_what_is_there(compose: dict[str, Any]) -> None:
    services, declared = compose["services"], {*compose["volumes"], *compose["secrets"]}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        named = {v.split(":")[0] for v in service["volumes"] if not v.startswith("$")}
        assert named | set(service["secrets"]) <= declared
    dockerfile = ROOT / compose["services"]["sender"]["build"]["dockerfile"]
    copied = [line.split()[1:-1] for line in dockerfile.read_text().splitlines() if "COPY" in line]
    assert all((ROOT / source).exists() for sources in copied for source in sources)
    assert {s["host"] for s in servers(DEPLOY / "workspace/compose.yaml")} <= set(services)


def test_paths_of_the_examples_and_of_the_compose_files_head_are_in_the_containers(
    compose: dict[str, Any],
) -> None:
    """What a container needs from elsewhere is named in the head, with its path there."""
    head = (DEPLOY / "compose.yaml").read_text().partition("\nname:")[0]
    for side in ("sender", "receiver"):
        given = dict(dotenv_values(ROOT / f"{side}.env.example"))
        if side == "sender":
            given |= dict(re.findall(r"(AR_SYNC_\w+)=(\S+)", head))
            del given["AR_SYNC_REMOTE_BKP_FLDR"]  # a path at the SFTP server
        mounted = [volume.rpartition("}:")[2] for volume in compose["services"][side]["volumes"]]
        places = [volume.removeprefix("home:").removesuffix(":ro") for volume in mounted]
        paths = {name: value for name, value in given.items() if value and value[0] == "/"}
        assert len(paths) >= 2
        for name, value in paths.items():
            assert any(f"{value}/".startswith(f"{place}/") for place in places), (name, value)


def test_only_the_web_server_is_reachable_and_from_this_host_alone(compose: dict[str, Any]) -> None:
    published = {n: s["ports"] for n, s in compose["services"].items() if "ports" in s}
    assert published == {"webserver": ["127.0.0.1:3000:3000"]}


def test_a_sides_settings_and_code_server_are_out_of_the_other_sides_reach(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    assert {n: s["env_file"] for n, s in services.items() if "env_file" in s} == {
        "sender": ["sender.env"],
        "receiver": ["receiver.env"],
    }
    reached = {name: set(service["networks"]) for name, service in services.items()}
    assert reached["sender"] == {"sender"}
    assert reached["receiver"] == {"receiver"}
    assert set().union(*reached.values()) == set(compose["networks"])


def test_entrypoint_makes_the_storages_url_from_the_secret(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    secret = tmp_path / "storage_password"
    secret.write_text("s3cret\n")
    words = [word.replace("$$", "$") for word in compose["services"]["daemon"]["entrypoint"]]
    words[2] = words[2].replace("/run/secrets/storage_password", str(secret))
    done = subprocess.run(
        [*words, "printenv", "DAGSTER_POSTGRES_URL"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "postgresql://dagster:s3cret@storage/dagster\n"


def test_systemd_and_the_command_line_read_the_same_from_the_settings_examples() -> None:
    """One file serves both: what has spaces is quoted, and nothing else would be read two ways."""
    for side in ("sender", "receiver"):
        text = (ROOT / f"{side}.env.example").read_text()
        uncommented = re.sub(r"^#(?=AR_SYNC_)", "", text, flags=re.MULTILINE)
        for line in uncommented.splitlines():
            if line.startswith("AR_SYNC_"):
                name, value = line.split("=", 1)
                (plain,) = shlex.split(value) if value else [""]
                assert plain == next(iter(dotenv_values(stream=io.StringIO(line)).values())), name


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_settings_examples_name_the_roles_accounts_and_folders_of_the_pages(side: str) -> None:
    given = dotenv_values(ROOT / f"{side}.env.example")
    role = re.search(r"\\set role (\w+)", (DEPLOY / "sql" / f"{side}_role.sql").read_text())
    assert role is not None
    url = given[f"AR_SYNC_{side.upper()}_DATABASE_URL"] or ""
    assert url.startswith(f"postgresql://{role[1]}@")
    account = (ROOT / "docs" / "receiver_account.md").read_text()
    unit = (DEPLOY / "systemd" / f"ar-sync-{side}.service").read_text()
    page = (ROOT / "docs" / "deployment.md").read_text()
    if side == "sender":
        assert f"AR_SYNC_REMOTE_USER={given['AR_SYNC_REMOTE_USER']}" in account
        assert f"AR_SYNC_REMOTE_BKP_FLDR={given['AR_SYNC_REMOTE_BKP_FLDR']}\n" in account
        assert f"`{given['AR_SYNC_KNOWN_HOSTS']}`" in page
        scratch = f"{given['AR_SYNC_TMP_BKP_FLDR']}".removeprefix("/var/lib/")
        common = (DEPLOY / "systemd" / "ar-sync-.service.d" / "common.conf").read_text()
        assert re.search(rf"^StateDirectory=.*\b{scratch}$", common, re.MULTILINE)
    else:
        assert f"AR_SYNC_REMOTE_BKP_FLDR={given['AR_SYNC_REMOTE_BKP_FLDR']}`" in account
        for folder in ("AR_SYNC_REMOTE_BKP_FLDR", "AR_SYNC_RECEIVER_MEDIA_FLDR"):
            assert re.search(rf"^ReadWritePaths=.*-{given[folder]}\b", unit, re.MULTILINE)


@pytest.mark.parametrize("path", ["Makefile", "deploy/Dockerfile", "docs/deployment.md"])
def test_every_way_to_install_compiles_bytecode(path: str) -> None:
    """Else each run compiles for itself, since its account may not write beside the code."""
    text = (ROOT / path).read_text()
    installs = [line for line in text.splitlines() if "uv sync" in line]
    assert installs
    assert all("UV_COMPILE_BYTECODE=1" in line for line in installs)


def test_what_messages_name_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    sources = (path.read_text() for path in (ROOT / "ar_sync_pipeline").rglob("*.py"))
    named = {
        found
        for text in sources
        for found in re.findall(r"(?<!`)\b((?:docs|deploy)/[\w/]+\.\w+)", text)
    }
    assert len(named) >= 4
    for name in named:
        assert (ROOT / name).exists(), name
        top = name.split("/", 1)[0]
        assert shared[top] == f"share/ar_sync_pipeline/{top}"
