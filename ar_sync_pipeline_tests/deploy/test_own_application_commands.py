"""Every command of the page about one's own application, run in its order from empty folders.

Two folders stand for the two servers. Only what belongs to a machine is put in place of the page's:
its paths, its database server, its SFTP server, its accounts, `sudo` and `scp`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline_tests.deploy.test_own_application import CONTENT, ORDERS, PAGE, SHOP
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import execute, rows

ROOT = Path(__file__).parents[2]
SIDES = ("sender", "receiver")
PSQL = """#!/bin/sh
test "$1 $2 $3" = "-u postgres psql" && test "$4" = -d || exit 64
case "$5" in shop) side=sender url={sender} ;; shop_viz) side=receiver url={receiver} ;; esac
exec {psql} --no-psqlrc -v role="$(cat {folder}/$side/role)" "$url"
"""
SCP = """#!/bin/sh
exec cp "$1" "{folder}/receiver${{2#viz.example.org:}}"
"""
INSTALL = """#!/bin/sh
for word; do shift; case "$word" in -o|-g|root|ar_sync) ;; *) set -- "$@" "$word" ;; esac; done
exec {install} "$@"
"""


def steps() -> list[tuple[str, str]]:
    """The page's commands, each with the sides at which they run."""
    found, place = [], ""
    for text, block in re.findall(r"(.*?)^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        named = re.findall(r"[Aa]t (both servers|the sender|the receiver)[,:]", text)
        place = named[-1] if named else place
        found.append((place.removeprefix("the "), block))
    return found


@dataclass
class Machines:
    """Two servers in one folder."""

    folder: Path
    databases: dict[str, str]
    sftp: LoopbackSftpServer

    def role(self, side: str) -> str:
        return (self.folder / side / "role").read_text()

    def run(self, side: str, script: str) -> str:
        home = self.folder / side
        (dagster_home,) = re.findall(r"^ .*\bDAGSTER_HOME=/(\S+) bash$", PAGE, re.MULTILINE)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AR_SYNC_", "DAGSTER_"))}
        done = subprocess.run(
            ["/bin/sh", "-euc", self._placed(side, script)],
            cwd=home / "etc/ar_sync",
            env=clean
            | {
                "DAGSTER_HOME": str(home / dagster_home),
                "PATH": f"{self.folder}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(home),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _placed(self, side: str, script: str) -> str:
        """The commands with this machine's places."""
        databases = {name: urlsplit(url) for name, url in self.databases.items()}
        for name, database in (("shop_viz", "receiver"), ("shop", "sender")):
            parts = databases[database]
            here = f"@{parts.hostname}:{parts.port}{parts.path}"
            script = re.sub(rf"@localhost:5432/{name}\b", here, script)
        script = script.replace("//shop@", "//postgres@")
        for each in SIDES:
            script = script.replace(f"ar_sync_{each}:PASSWORD@", f"{self.role(each)}@")
        script = script.replace("REMOTE_HOST=viz.example.org", f"REMOTE_HOST={self.sftp.host}")
        script = script.replace("REMOTE_PORT=22", f"REMOTE_PORT={self.sftp.port}")
        script = script.replace("REMOTE_USER=ar_sync_sender", f"REMOTE_USER={self.sftp.user}")
        script = re.sub(r"(?<=[ =])/(etc|var|srv)/", rf"{self.folder}/{side}/\1/", script)
        return script.replace(" dagster.yaml ", f" {ROOT}/dagster.yaml ")


@pytest.fixture
def machines(
    database_factory: DatabaseFactory, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> Machines:
    databases = {side: database_factory() for side in SIDES}
    execute(databases["sender"], *SHOP, *ORDERS)
    execute(databases["receiver"], *SHOP)
    for side, url in databases.items():
        for folder in ("etc/ar_sync", "srv/shop/media/invoices"):
            (tmp_path / side / folder).mkdir(parents=True)
        (tmp_path / side / "role").write_text(f"ar_sync_{side}_{urlsplit(url).path[1:]}")
    (tmp_path / "sender/srv/shop/media/invoices/7.pdf").write_bytes(b"invoice")
    root = tmp_path / "receiver/srv/ar_sync"
    (root / "spool").mkdir(parents=True)
    prepare_spool(root / "spool")
    programs = {
        "sudo": PSQL.format(
            psql=postgres_server.binaries.program("psql"), folder=tmp_path, **databases
        ),
        "chgrp": '#!/bin/sh\ntest "$1" = ar_sync\n',
        "scp": SCP.format(folder=tmp_path),
        "install": INSTALL.format(install="/usr/bin/install"),
    }
    (tmp_path / "bin").mkdir()
    for name, script in programs.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    sftp = LoopbackSftpServer(root, tmp_path / "keys")
    for name, source in (("id_ed25519", sftp.private_key), ("known_hosts", sftp.known_hosts)):
        (tmp_path / "sender/etc/ar_sync" / name).symlink_to(source)
    return Machines(tmp_path, databases, sftp)


@pytest.mark.long
def test_from_empty_folders_to_an_equal_receiver(machines: Machines) -> None:
    said = ""
    with machines.sftp:
        for place, script in steps():
            for side in SIDES if place == "both servers" else (place,):
                said = machines.run(side, script)
    assert "all is well" in said
    assert len(rows(machines.databases["receiver"], CONTENT)) == 100
    assert rows(machines.databases["receiver"], CONTENT) == rows(
        machines.databases["sender"], CONTENT
    )
    received = machines.folder / "receiver/srv/shop_viz/media/invoices/7.pdf"
    assert received.read_bytes() == b"invoice"
    programs = {line.split()[0] for _, block in steps() for line in block.splitlines()}
    assert {"ar-sync", "dagster", "scp", "install"} <= programs
