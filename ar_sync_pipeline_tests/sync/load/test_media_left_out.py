"""Files that a web server would run are left out; rows and other files are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, rows

DANGEROUS = {".htaccess", "x.php", "deep/x.PHTML", "x.php.jpeg", "page.html", "logo.svg"}


@pytest.fixture
def sites(filled: TwoSites, monkeypatch: pytest.MonkeyPatch) -> TwoSites:
    """Return a sender that sends all its files, and whose rows name hidden files."""

    def everything(build: BuildFolder, database: SenderDatabase, folder: Path, _: object) -> None:
        bundle_media(build, database, folder, ["*"])

    monkeypatch.setattr("ar_sync_pipeline_tests.fix_sites.bundle_media", everything)
    for name in (*DANGEROUS, "good.jpeg"):
        path = filled.sender_media / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    filled.at_sender(
        "UPDATE app_child SET picture = '.htaccess', changed = now() WHERE id = 5",
        "UPDATE app_child SET picture = 'x.php', changed = now() WHERE id = 6",
    )
    return filled


def installed(sites: TwoSites) -> set[str]:
    folder = sites.receiver_media
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_one_bad_file_stops_neither_the_good_ones_nor_the_rows(sites: TwoSites) -> None:
    sites.complete()
    report = sites.load()
    assert installed(sites) == {"good.jpeg"}
    assert equal(sites)
    (loaded,) = report.loaded
    assert set(loaded.media_left_out) == DANGEROUS
    assert (loaded.media_installed, loaded.media_unchanged) == (1, 0)
    assert report.left_out is not None
    assert report.left_out.startswith("6 media files are left out, such as '")
    assert "AR_SYNC_RECEIVER_MEDIA_ALLOW" in report.left_out


def test_the_next_complete_installs_what_the_setting_allows_by_then(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    sites.environ["AR_SYNC_RECEIVER_MEDIA_ALLOW"] = "*.svg, .htaccess"
    sites.complete()
    report = sites.load()
    assert installed(sites) == {"good.jpeg", "logo.svg", ".htaccess"}
    assert set(report.loaded[0].media_left_out) == DANGEROUS - {"logo.svg", ".htaccess"}


def test_deletion_neither_counts_nor_removes_what_is_left_out(sites: TwoSites) -> None:
    sites.environ |= {"AR_SYNC_MEDIA_DELETE": "true", "AR_SYNC_RECEIVER_MEDIA_ALLOW": "*.svg"}
    sites.complete()
    sites.load()
    assert known(sites) == {"good.jpeg", "logo.svg"}
    # The receiver's own file of the same name and content must not be removed.
    (sites.receiver_media / "page.html").write_text("page.html")
    del sites.environ["AR_SYNC_RECEIVER_MEDIA_ALLOW"]
    sites.complete()
    report = sites.load()
    assert (report.media.removed, report.media.warning) == (0, None)
    assert installed(sites) == {"good.jpeg", "logo.svg", "page.html"}
    # The sender no longer has what was installed earlier.
    for name in ("logo.svg", "page.html"):
        (sites.sender_media / name).unlink()
    sites.complete()
    assert sites.load().media.removed == 1
    assert installed(sites) == {"good.jpeg", "page.html"}


def known(sites: TwoSites) -> set[object]:
    return {path for (path,) in rows(sites.receiver, "SELECT path FROM ar_sync.media_file")}


def test_plan_names_them_before_the_load(sites: TwoSites) -> None:
    path = sites.complete()
    variables = {
        "AR_SYNC_RECEIVER_DATABASE_URL": sites.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(sites.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(sites.spool),
        "AR_SYNC_CATALOG": str(sites.folder / "catalog.toml"),
    }
    (sites.folder / "catalog.toml").write_text(
        'name = "small"\ntables = ["app_*"]\nreceiver_tables = ["app_note"]\n'
        '[table.app_parent]\nreceiver_columns = ["seen", "transformed"]\n'
        '[table.app_child]\nchanged_at = "changed"\nmedia_columns = ["picture"]\n'
    )
    result = CliRunner().invoke(main, ["plan", str(path), "--json"], env=variables)
    assert result.exit_code == 0, result.output
    (warning,) = json.loads(result.output)["warnings"]
    assert warning.startswith("6 media files are left out")
    assert installed(sites) == set()
