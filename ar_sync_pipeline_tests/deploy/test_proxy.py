"""deploy/nginx/ar_sync.conf: a real nginx in front of a real Dagster web server."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from ar_sync_pipeline.demo.dagster_process import HOST, DagsterProcess
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

ROOT = Path(__file__).parents[2]
NAME = "dagster.example.org"
OWN, FOREIGN = f"https://{NAME}", "https://evil.example.net"
MUTATION = "mutation { setNuxSeen }"
BY_GET = "/graphql?query=mutation%7BsetNuxSeen%7D"
JSON = {"Content-Type": "application/json"}
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"visitor:s3cret").decode()}
_NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/ar_sync.conf;
}}
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Proxied:
    """The web server, and nginx in front of it."""

    web_port: int
    proxy_port: int

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: str = "",
        *,
        host: str = NAME,
    ) -> Answer:
        """Through the proxy, logged in."""
        connection = http.client.HTTPSConnection(
            HOST, self.proxy_port, timeout=60, context=trusting()
        )
        return answer_of(connection, method, path, {"Host": host, **LOGIN, **(headers or {})}, body)

    def ask_dagster(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Past the proxy."""
        connection = http.client.HTTPConnection(HOST, self.web_port, timeout=60)
        return answer_of(connection, method, path, headers, "")


def answer_of(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: str,
) -> Answer:
    try:
        connection.request(method, path, body.encode() or None, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def openssl(*words: str) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def adapted(folder: Path, web_port: int, proxy_port: int) -> str:
    """The documented file, with this machine's ports and files."""
    text = (ROOT / "deploy/nginx/ar_sync.conf").read_text("utf-8")
    for there, here in (
        ("listen 443", f"listen {HOST}:{proxy_port}"),
        ("http://127.0.0.1:3000", f"http://{HOST}:{web_port}"),
        ("/etc/nginx/", f"{folder}/"),
    ):
        assert there in text
        text = text.replace(there, here)
    return text


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None or shutil.which("openssl") is None:
        skip_unless_in_ci("nginx or openssl is not installed")
    folder = tmp_path_factory.mktemp("proxy")
    # Its workers drop their rights where they have any, and would not see the test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    web_port, proxy_port = free_port(), free_port()
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"),
        *("-keyout", f"{folder}/ar_sync.key", "-out", f"{folder}/ar_sync.crt"),
    )
    (folder / "ar_sync.htpasswd").write_text(f"visitor:{openssl('passwd', '-apr1', 's3cret')}\n")
    (folder / "ar_sync.conf").write_text(adapted(folder, web_port, proxy_port))
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user))
    home = folder / "home"
    home.mkdir()
    web = DagsterProcess(
        ["dagster-webserver", "-h", HOST, "-p", str(web_port), "--empty-workspace"],
        {"PATH": os.environ["PATH"], "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"},
        folder / "web.log",
        web_port,
    )
    web.start()
    proxy = subprocess.Popen([nginx, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
    try:
        web.wait_until_ready()
        yield Proxied(web_port, proxy_port)
    finally:
        proxy.terminate()
        proxy.wait()
        web.stop()


def test_dagster_itself_executes_a_mutation_by_get_of_any_site(proxied: Proxied) -> None:
    """Why the proxy refuses it."""
    done = proxied.ask_dagster("GET", BY_GET, {"Host": "evil.example.net", "Origin": FOREIGN})
    assert json.loads(done.body)["data"] == {"setNuxSeen": True}


def test_ui_and_its_queries_pass(proxied: Proxied) -> None:
    page = proxied.ask("GET", "/runs", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"})
    assert page.status == 200
    assert b"<html" in page.body
    for origin in ({"Origin": OWN}, {}):
        for content in ("application/json", "application/json; charset=utf-8"):
            headers = {"Content-Type": content, **origin}
            body = json.dumps({"query": MUTATION})
            answer = proxied.ask("POST", "/graphql", headers, body)
            assert json.loads(answer.body)["data"] == {"setNuxSeen": True}


def test_link_in_an_alert_opens_the_ui(proxied: Proxied) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert proxied.ask("GET", "/runs/1", headers).status == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", BY_GET, {}),
        ("GET", BY_GET, {"Origin": FOREIGN}),
        ("GET", BY_GET, {"Origin": OWN}),
        ("GET", BY_GET.replace("/graphql", "/%67raphql"), {}),
        ("GET", BY_GET.replace("/graphql", "/x/../graphql"), {}),
        ("GET", BY_GET.replace("/graphql", "/graphql/"), {}),
        ("HEAD", BY_GET, {}),
        ("POST", BY_GET, {}),
        ("POST", BY_GET, {"Content-Type": "application/x-www-form-urlencoded"}),
        ("PUT", "/graphql", JSON | {"Origin": OWN}),
        ("DELETE", "/graphql", JSON | {"Origin": OWN}),
        ("POST", "/graphql", JSON | {"Origin": FOREIGN}),
        ("POST", "/graphql", JSON | {"Origin": "null"}),
        ("POST", "/graphql", JSON | {"Origin": OWN + ".evil.net"}),
        ("POST", "/graphql", JSON | {"Origin": f"http://{NAME}"}),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json", "Origin": OWN}),
        ("POST", "/graphql", {"Content-Type": "application/graphql", "Origin": OWN}),
        ("POST", "/graphql", {"Content-Type": "application/jsonp", "Origin": OWN}),
        ("POST", "/graphql", JSON | {"Origin": OWN, "Upgrade": "websocket"}),
        ("GET", "/runs", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}),
        ("GET", "/logs/x", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}),
        ("POST", "/report_asset_materialization/a", JSON | {"Origin": OWN}),
        ("POST", "/", {}),
    ],
)
def test_request_that_another_site_could_make_a_browser_send_is_refused(
    proxied: Proxied, method: str, path: str, headers: Mapping[str, str]
) -> None:
    body = json.dumps({"query": MUTATION}) if method in {"POST", "PUT", "DELETE"} else ""
    assert proxied.ask(method, path, headers, body).status in {403, 405}


@pytest.mark.parametrize("host", ["evil.example.net", "127.0.0.1", "", f"{NAME}.evil.net"])
def test_foreign_host_header_gets_nothing(proxied: Proxied, host: str) -> None:
    answer = proxied.ask("POST", "/graphql", JSON, json.dumps({"query": MUTATION}), host=host)
    assert answer.status in {400, 421}


def test_nobody_is_let_in_without_the_login(proxied: Proxied) -> None:
    for path in ("/", "/graphql", "/server_info"):
        assert proxied.ask("GET", path, {"Authorization": ""}).status in {401, 403}


def test_no_site_may_frame_the_ui(proxied: Proxied) -> None:
    headers = proxied.ask("GET", "/").headers
    assert headers["X-Frame-Options"] == "DENY"


class TestWebSocket:
    """Live updates of the UI."""

    def subscribe(self, proxied: Proxied, origin: str | None) -> str:
        with connect(
            f"wss://{NAME}/graphql",
            sock=socket.create_connection((HOST, proxied.proxy_port)),
            ssl=trusting(),
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol("graphql-ws")],
            additional_headers=LOGIN,
        ) as websocket:
            websocket.send(json.dumps({"type": "connection_init"}))
            return str(json.loads(websocket.recv(timeout=30))["type"])

    def test_own_pages_are_served(self, proxied: Proxied) -> None:
        assert self.subscribe(proxied, OWN) == "connection_ack"

    @pytest.mark.parametrize("origin", [FOREIGN, "null", f"http://{NAME}", None])
    def test_other_pages_are_refused(self, proxied: Proxied, origin: str | None) -> None:
        with pytest.raises(InvalidStatus, match="403"):
            self.subscribe(proxied, origin)
