"""Excludes media files that a web server would run, render or obey.

A web server usually serves the media folder. Somebody who can write files at the sender must not
be able to run code at the receiver or in the browsers of its visitors.

A file system that ignores case may ignore invisible characters, too (ext4 with ``casefold``): a
file whose name has such a character in its ending is then opened, and run, by the plain name.

The name alone decides, since a receiver also has to know it of files that an archive only lists.
Against a page under a name without a known extension the web server sends ``nosniff``
(docs/settings.md, "Media").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

# Apache's mod_mime takes every extension of a name into account (manual, "Files with Multiple
# Extensions"); IIS stops at a semicolon, NTFS at a colon.
_SEPARATORS = re.compile(r"[.;:]")
# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt).
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Configuration of Apache, IIS and PHP; type maps and whole HTTP responses of Apache's
# mod_negotiation and mod_asis.
_OBEYED = "htaccess htpasswd config ini var asis"
# PHP, CGI and scripts, ASP, Java, ColdFusion, server-side includes.
_RUN_BY_THE_SERVER = """
php phtml pht phtm phps phar inc hh
cgi fcgi fpl pl pm py pyc pyo pyw pyz rb erb rhtml lua tcl sh bash csh ksh zsh fish
exe bat cmd dll msi ps1 psm1
asp aspx asa asax ascx ashx asmx asmq axd cer cdx cshtml vbhtml soap svc
jsp jspx jspf jsw jsv jsf jhtml jar war class
cfm cfml cfc dbm shtml shtm stm
"""
# Markup, style sheets that transform it, and scripts, which run in the origin of the site.
_RUN_BY_THE_BROWSER = """
html htm xhtml xhtm xht xml xsl xslt xbl xul svg svgz mathml mml rdf rss atom wsdl xsd dtd
mht mhtml eml hta htc htx js mjs cjs jse wasm swf vbs vbe wsf wsh wsc jnlp appcache
"""
_ACTIVE = frozenset(f"{_OBEYED} {_RUN_BY_THE_SERVER} {_RUN_BY_THE_BROWSER}".split())
_PHP = re.compile(r"(php|phtml|pht)[0-9]+")


def exclusion_reason(path: str, allowed: Sequence[str]) -> str | None:
    """Return why a receiver does not install a file, as a clause; None if it does.

    Args:
        path: Path relative to the media folder.
        allowed: Case-sensitive shell patterns; one with a ``/`` is compared with the whole path,
            any other with the last component. A pattern allows only what it spells out: the dot
            of a hidden name, and each refused extension. ``*`` allows nothing.
    """
    hidden = []
    plain = path if path.isascii() else _IGNORED.sub("", path)
    if plain.startswith(".") or "/." in plain:
        hidden = [component for component in plain.split("/") if component.startswith(".")]
    name = plain.rpartition("/")[2]
    separator = _SEPARATORS.search(name)
    active = _active_endings(name[separator.start() :]) if separator else ()
    if not hidden and not active:
        return None
    if any(_names(pattern, path, hidden, active) for pattern in allowed):
        return None
    if hidden:
        return "it is hidden"
    return f"a web server may run or render .{active[0]}"


@lru_cache(maxsize=1_000)
def _active_endings(endings: str) -> tuple[str, ...]:
    return tuple(ending for ending in _endings(endings) if _is_active(ending))


def _endings(name: str) -> list[str]:
    return [
        unicodedata.normalize("NFKC", ending).strip().casefold()
        for ending in _SEPARATORS.split(name)[1:]
    ]


def _is_active(ending: str) -> bool:
    return ending in _ACTIVE or _PHP.fullmatch(ending) is not None


def _names(pattern: str, path: str, hidden: Sequence[str], active: Sequence[str]) -> bool:
    subject = path if "/" in pattern else path.rpartition("/")[2]
    if not fnmatchcase(subject, pattern):
        return False
    dotted = [component for component in pattern.split("/") if component.startswith(".")]
    spelled = _endings(pattern)
    return all(any(fnmatchcase(name, part) for part in dotted) for name in hidden) and all(
        ending in spelled for ending in active
    )
