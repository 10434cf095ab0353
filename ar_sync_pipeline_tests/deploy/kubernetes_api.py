"""A small API server of Kubernetes: it records requests and answers as for a run that failed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

_PATH = re.compile(
    r"/apis?(?:/(?P<group>[a-z.0-9]+))?/v1/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+)(?P<part>/[a-z]+)?)?"
)
_POD = {
    "metadata": {"name": "the-pod"},
    "spec": {"containers": [{"name": "dagster"}]},
    "status": {
        "phase": "Failed",
        "containerStatuses": [
            {
                "name": "dagster",
                "image": "i",
                "imageID": "i",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            }
        ],
    },
}


@dataclass
class KubernetesApi:
    """What the server was asked.

    Attributes:
        kubeconfig: File with which a client finds the server.
        jobs: Bodies of the jobs that were created.
        asked: Each right that a request needs, as API group, resource and verb.
        namespaces: Namespaces of all requests.
        pods: Pods of every job.
        status: State of every job.
        refusal: HTTP status of every answer; None: 200.
    """

    kubeconfig: Path
    jobs: list[dict[str, Any]] = field(default_factory=list)
    asked: set[tuple[str, str, str]] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    pods: list[dict[str, Any]] = field(default_factory=lambda: [_POD])
    refusal: int | None = None
    status: dict[str, int] = field(default_factory=lambda: {"failed": 1})

    def answer(self, method: str, path: str, body: bytes) -> Any:
        found = _PATH.fullmatch(path.partition("?")[0])
        assert found is not None, path
        resource = found["resource"] + (found["part"] or "")
        verb = {"POST": "create", "DELETE": "delete", "GET": "get" if found["name"] else "list"}
        self.asked.add((found["group"] or "", resource, verb[method]))
        self.namespaces.add(found["namespace"])
        match method, resource:
            case "POST", "jobs":
                self.jobs.append(json.loads(body))
                return self.jobs[-1]
            case "GET", "jobs/status":
                return {"status": self.status}
            case "GET", "pods":
                return {"items": self.pods}
            case "GET", "pods/log":
                return "killed"
            case "GET", "jobs" | "events":
                return {"items": []}
            case _:
                return {"status": "Success"}


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[KubernetesApi]:
    """Run an API server on loopback."""
    made = KubernetesApi(folder / "kubeconfig")

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = json.dumps(made.answer(self.command, self.path, body)).encode()
            self.send_response(made.refusal or 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815  names of http.server

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    made.kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
                ],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
