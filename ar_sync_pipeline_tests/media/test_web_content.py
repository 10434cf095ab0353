"""What a web server would run, render or obey is left out, unless a pattern names it."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.media.web_content import exclusion_reason

ORDINARY = (
    *("a.jpeg", "2017/ñandú grande.JPG", "photo.12.30.png", "no_ending", "php", "html/a.jpeg"),
    *("a.mp4", "report.pdf", "x.phpx", "archive.com.jpeg", "a.b/c.jpeg", "图片.webp"),
    *("família 👨\u200d👩\u200d👧.jpeg", "a\u200b/b.jpeg", "x…js.jpeg"),
)
ACTIVE = (
    *("x.php", "x.PHP", "x.php5", "x.pHp7", "x.phtml", "x.phar", "x.phtml3", "x.php.jpeg"),
    *("x.php.", "x.php ", "x.php;.jpeg", "x.asp;.jpg", "x.php::$DATA", "x.jpeg.php", "x.inc"),
    *("x.html", "x.HTM", "x.xhtml", "x.svg", "x.svgz", "x.js", "x.mjs", "x.xml", "x.shtml"),
    *("x.cgi", "x.pl", "x.py", "x.sh", "x.aspx", "x.jsp", "x.cfm", "x.swf", "web.config"),
    "deep/down/x.html.en",
)
HIDDEN = (".htaccess", ".user.ini", ".HTACCESS", "a/.htpasswd", ".git/config.jpeg", "a/.b/c.jpeg")


@pytest.mark.parametrize("path", ORDINARY)
def test_ordinary_names_are_installed(path: str) -> None:
    assert exclusion_reason(path, ()) is None


# Characters that a file system ignores, or another form of a letter.
DISGUISED = (
    *("x.ph\u200bp", "x.ph\u00adp", "x.\u2060php", "x.php\ufeff", "x.ht\u034fml", "x.sv\ufe0fg"),
    *("x.p\U000e0001hp.jpeg", "x.ph\u3164p", "x.\uff50\uff48\uff50", "x.j\u017f", "x.php\uff17"),
    *("\u200b.htaccess", "a/\u00ad.b/c.jpeg", "a/\ufeff\u200d.user.ini"),
)


@pytest.mark.parametrize("path", [*ACTIVE, *HIDDEN, *DISGUISED])
@pytest.mark.parametrize("allowed", [(), ("*", "*.jpeg", "**/*", "*.*", "?htaccess", "*.ph*")])
def test_active_and_hidden_files_are_left_out_in_spite_of_wildcards(
    path: str, allowed: tuple[str, ...]
) -> None:
    assert exclusion_reason(path, allowed) is not None


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("icons/x.svg", "*.svg"),
        ("icons/x.svg", "icons/*.svg"),
        ("x.php.jpeg", "*.php.jpeg"),
        (".thumb.jpeg", ".*.jpeg"),
        ("a/.well-known/b.jpeg", "a/.well-known/*"),
        (".htaccess", ".htaccess"),
    ],
)
def test_pattern_that_names_it_lets_it_in(path: str, pattern: str) -> None:
    assert exclusion_reason(path, (pattern,)) is None


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("x.php.svg", "*.svg"),
        (".x.svg", "*.svg"),
        ("a/.b/x.svg", "*.svg"),
        ("x.SVG", "*.svg"),
        ("other/x.svg", "icons/*.svg"),
    ],
)
def test_pattern_lets_in_no_more_than_it_names(path: str, pattern: str) -> None:
    assert exclusion_reason(path, (pattern,)) is not None
