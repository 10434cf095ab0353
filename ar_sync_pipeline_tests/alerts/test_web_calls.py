"""The webhook and the heartbeat, against a real HTTP server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.alerts.heartbeat import beat
from ar_sync_pipeline.alerts.incidents import NoticeKind
from ar_sync_pipeline.alerts.webhook import WebhookChannel
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline_tests.alerts.problems import PLACE
from ar_sync_pipeline_tests.alerts.test_mail import notice
from ar_sync_pipeline_tests.fix_alerts import WebServer

TOKEN = "T0k3n-that-nobody-sees"


def test_webhook_gets_the_documented_json(web: WebServer) -> None:
    channel = WebhookChannel(f"{web.url}/{TOKEN}", PLACE)
    channel.send(notice(NoticeKind.RECOVERED))
    (post,) = web.posts
    assert web.calls[0][1] == f"/{TOKEN}"
    assert post == {
        "format": 1,
        "event": "recovered",
        "id": "store-7",
        "incident": 7,
        "side": "sender",
        "host": "db1",
        "text": "[ar_sync sender] Recovered: the connection to the receiver",
        "cause": "endpoint",
        "title": "the connection to the receiver",
        "what": ["job of step:partial"],
        "problem": "nobody answers",
        "remedy": "start sshd",
        "opened_at": "2026-11-24T12:00:00+00:00",
        "last_seen_at": "2026-11-24T12:00:00+00:00",
        "recovered_at": "2026-11-24T14:05:00+00:00",
        "count": 1,
        "run_id": "run-0",
        "url": "https://dagster.example.org/runs/run-0",
    }


def test_manual_shows_every_key_of_the_json(web: WebServer) -> None:
    WebhookChannel(web.url, PLACE).send(notice())
    manual = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")
    (shown,) = re.findall(r"```json\n(\{.*?\n\})\n```", manual, re.DOTALL)
    assert list(json.loads(shown)) == list(web.posts[0])


@pytest.mark.parametrize("status", [404, 429, 500])
def test_answer_that_is_no_success_is_a_failure_without_the_address(
    web: WebServer, status: int
) -> None:
    web.status = status
    with pytest.raises(DeliveryError, match=f"answered {status}") as failed:
        WebhookChannel(f"{web.url}/{TOKEN}", PLACE).send(notice())
    assert TOKEN not in str(failed.value) + repr(failed.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_webhook_that_redirects_has_not_taken_the_message(web: WebServer, status: int) -> None:
    # A redirected POST becomes a GET without the message, which any page answers with 200.
    web.redirects[f"/{TOKEN}"] = (status, f"/new/{TOKEN}")
    with pytest.raises(DeliveryError, match=f"answered {status}, a redirect") as failed:
        WebhookChannel(f"{web.url}/{TOKEN}", PLACE).send(notice())
    assert "set AR_SYNC_WEBHOOK_URL to the address that it redirects to" in str(failed.value)
    assert TOKEN not in str(failed.value) + repr(failed.value)
    assert [(method, path) for method, path, _ in web.calls] == [("POST", f"/{TOKEN}")]


def test_heartbeat_follows_a_redirect(web: WebServer) -> None:
    web.redirects["/ping"] = (301, "/new")
    beat(f"{web.url}/ping")
    assert [path for _, path, _ in web.calls] == ["/ping", "/new"]


def test_server_that_is_down_is_a_failure_without_the_address() -> None:
    with pytest.raises(DeliveryError, match="cannot be reached") as failed:
        beat(f"http://127.0.0.1:{free_port()}/{TOKEN}")
    assert TOKEN not in str(failed.value)


def test_heartbeat_is_one_get(web: WebServer) -> None:
    beat(f"{web.url}/ping/{TOKEN}")
    assert web.calls == [("GET", f"/ping/{TOKEN}", b"")]
