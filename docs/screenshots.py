"""Takes the pictures of ``docs/ui.md``: starts the live demo and drives Chromium over its real UI.

Run it with ``make screenshots``; it needs a ``chromium`` on the path and some minutes. It waits for
conditions, not for times: for finished runs, and for the words that a page must show.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from websockets.sync.client import ClientConnection, connect

IMAGES = Path(__file__).with_name("images")
_SIZE = (1600, 1000)
_COLOURS = 128
_ENOUGH_LOADS = 4
_LONGEST_WAIT_SECONDS = 1200
_PAGE_SECONDS = 60

_UNREADY = re.compile(r"Loading|fetching|In Progress|Not Evaluated")
_AT_WORK = re.compile(r"Materializing(?! \()")

T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """One page of the UI.

    Attributes:
        path: behind the address of the UI.
        shows: words that the page shows when it is ready.
        click: the text of a button to press then.
        scroll: words to bring to the top of the window.
        height: of the window.
        at_work: whether it may show a run at work, as pages of loads nearly always do: the next
            one has started early and waits for its archive.
    """

    name: str
    path: str
    shows: str
    click: str = ""
    scroll: str = ""
    height: int = _SIZE[1]
    at_work: bool = False


class DagsterUi:
    """The web server's GraphQL, as far as the pictures need it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def query(self, text: str) -> dict[str, Any]:
        """Ask; returns ``data``."""
        request = urllib.request.Request(
            f"{self.address}/graphql",
            json.dumps({"query": text}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)["data"]
        return found

    def runs(self, job: str) -> list[str]:
        """Ids of a job's successful runs, newest first."""
        found = self.query(
            f'{{runsOrError(filter: {{pipelineName: "{job}", statuses: [SUCCESS]}})'
            " {... on Runs {results {runId}}}}"
        )
        return [run["runId"] for run in found["runsOrError"]["results"]]

    def newest_window(self) -> str:
        """The newest window that has its archive."""
        found = self.query(
            '{assetNodeOrError(assetKey: {path: ["partial", "archive"]})'
            " {... on AssetNode {assetMaterializations(limit: 1) {partition}}}}"
        )
        window: str = found["assetNodeOrError"]["assetMaterializations"][0]["partition"]
        return window


class Browser:
    """One page of headless Chromium, driven through the DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command and its answer; what else arrives meanwhile is dropped."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(timeout=_PAGE_SECONDS))
            if answer.get("id") == number:
                result: dict[str, Any] = answer["result"]
                return result

    def run(self, script: str) -> Any:  # noqa: ANN401  whatever the script says
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    def open(self, address: str, height: int) -> None:
        """Go to a page in a window of this height."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=_SIZE[0], height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.call("Page.navigate", url=address)

    def text(self) -> str:
        """All that the page shows in words."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def press(self, text: str) -> bool:
        """Click the innermost element of this text; False if there is none."""
        return self._with_element(text, "click()")

    def scroll_to(self, text: str) -> bool:
        """Bring the innermost element of this text to the top; False if there is none."""
        return self._with_element(text, "scrollIntoView()")

    def _with_element(self, text: str, action: str) -> bool:
        script = (
            "(() => {const found = [...document.querySelectorAll('*')].filter(e =>"
            f" e.innerText && e.innerText.trim() === {json.dumps(text)});"
            f" if (!found.length) return false; found[found.length - 1].{action}; return true}})()"
        )
        return bool(self.run(script))

    def picture(self) -> Image.Image:
        """What the window shows."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data)))


def until(wanted: Callable[[], T], what: str, seconds: float = _LONGEST_WAIT_SECONDS) -> T:
    """Ask again and again until the answer is true.

    Raises:
        TimeoutError: it never was.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = wanted()
        except (OSError, KeyError, TypeError, IndexError):
            found = None
        if found:
            return found
        time.sleep(0.5)
    raise TimeoutError(f"waited {seconds:.0f} s for {what}")


@contextmanager
def live_demo(folder: Path, port: int) -> Iterator[DagsterUi]:
    """``ar-sync demo --ui`` with a grid of one day, ended as an operator ends it."""
    command = [str(Path(sys.executable).with_name("ar-sync")), "demo", "--ui"]
    with (folder / "demo.log").open("wb") as log:
        demo = subprocess.Popen(
            [*command, "--port", str(port), "--folder", str(folder / "demo")],
            env={**os.environ, "AR_SYNC_PARTITIONS_START": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield DagsterUi(f"http://127.0.0.1:{port}")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(_LONGEST_WAIT_SECONDS)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Headless Chromium with a profile of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("No chromium is on the path: install the package `chromium`.")
    profile = folder / "profile"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    chromium = subprocess.Popen(
        [
            program,
            *options,
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"
        port = until(lambda: port_file.read_text().split()[0], "chromium", _PAGE_SECONDS)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
            page = next(p for p in json.load(answer) if p["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=2**26) as connection:
            yield Browser(connection)
    finally:
        chromium.terminate()
        chromium.wait(30)


def pictures(ui: DagsterUi) -> Iterator[Picture]:
    """The pictures of a healthy demo."""
    ledger, load = "/assets/receiver/applied_archives", ui.runs("partial_loaddata")[0]
    yield Picture("lineage", "/asset-groups", "receiver_load")
    yield Picture(
        "table_lineage",
        "/assets/receiver/tables/report?view=lineage&lineageScope=upstream&lineageDepth=2",
        "admitted_archives",
    )
    yield Picture("partial_group", "/locations/sender/asset-groups/partial_dump", "media_bundle")
    yield Picture("load_run", f"/runs/{load}?logs=step%3Aload", "STEP_SUCCESS")
    yield Picture(
        "windows",
        f"/assets/partial/archive?view=partitions&partition={ui.newest_window()}",
        "seconds_upload",
    )
    yield Picture("checks", f"{ledger}?view=checks&checkDetail=up_to_date", "data_until")
    plots = Picture("plots", ledger, "lag_seconds", click="Plots", scroll="gaps", height=1200)
    yield replace(plots, at_work=True)
    yield Picture(
        "table", "/assets/receiver/tables/report", "rows_added", height=1400, at_work=True
    )
    yield Picture("automation", "/automation", "past the hour")


def take(page: Browser, ui: DagsterUi, picture: Picture) -> None:
    """Open, wait, press, and keep the picture small."""
    page.open(ui.address + picture.path, picture.height)
    until(lambda: is_ready(page.text(), picture), f"{picture.shows!r} in {picture.name}")
    where = f"to act upon in {picture.name}"
    if picture.click:
        until(lambda: page.press(picture.click), where, _PAGE_SECONDS)
    if picture.scroll:
        until(lambda: page.scroll_to(picture.scroll), where, _PAGE_SECONDS)
    time.sleep(3)  # what is drawn on a canvas has no words to wait for
    until(lambda: is_ready(page.text(), picture), f"{picture.name}, which is still being filled")
    image = page.picture().convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    IMAGES.mkdir(exist_ok=True)
    image.save(IMAGES / f"{picture.name}.png", optimize=True)
    sys.stdout.write(f"{picture.name}.png\n")


def is_ready(text: str, picture: Picture) -> bool:
    """Whether a page shows all that it will, and nothing half-done of a run at work."""
    unready = _UNREADY.search(text) or (not picture.at_work and _AT_WORK.search(text))
    return picture.shows in text and not unready


def damage_an_archive(folder: Path) -> str:
    """Put something in the spool that is no archive, as a broken disk might; returns its name.

    Its name is of an instant that is still to come, so no good archive makes up for it meanwhile.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() + _LONGEST_WAIT_SECONDS))
    name = f"backup_partial_{stamp}.000000Z.tar"
    spool = folder / "demo" / "receiver" / "sftp" / "spool" / "partial"
    (spool / f"NEW_{name}").write_bytes(b"damaged" * 1000)
    return name


def main() -> None:
    """Start everything, take all pictures, end everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3210)
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory(prefix="ar_sync_pictures_") as name:
        folder = Path(name)
        with live_demo(folder, port) as ui, browser(folder) as page:
            page.call("Emulation.setTimezoneOverride", timezoneId="UTC")
            until(lambda: len(ui.runs("partial_loaddata")) >= _ENOUGH_LOADS, "loads")
            for picture in pictures(ui):
                take(page, ui, picture)
            damaged = damage_an_archive(folder)
            admitted = "/assets/receiver/admitted_archives?view=checks&checkDetail=archives_sound"
            take(page, ui, Picture("damaged_archive", admitted, damaged, at_work=True))


if __name__ == "__main__":
    main()
