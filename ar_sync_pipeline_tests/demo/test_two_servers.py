"""A demo's servers are for the account that runs it, also on a machine with other people."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ar_sync_pipeline.demo.two_servers import two_servers


@pytest.mark.long
def test_databases_ask_everybody_else_for_a_password(tmp_path: Path) -> None:
    with two_servers(tmp_path, interval_minutes=1) as servers:
        for url in (servers.sender_url, servers.receiver_url):
            parts = urlsplit(url)
            psycopg.connect(url).close()
            for user in (parts.username, "nobody"):
                bare = parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}").geturl()
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(bare)
        scratch = Path(servers.sender_environment()["AR_SYNC_TMP_BKP_FLDR"])
        assert scratch.stat().st_mode & 0o777 == 0o700
