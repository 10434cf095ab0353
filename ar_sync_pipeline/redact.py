"""Masks secrets in text that is shown: passwords in URLs."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "********"
# Up to the last @ of the word: a password that was not percent-encoded may have one itself.
_PASSWORD_IN_URL = re.compile(r"(://[^/@\s:]*:)\S*@")


def without_passwords(text: str) -> str:
    """Return text with the passwords of its URLs masked.

    >>> without_passwords("no answer from https://user:pa@ss@host/x")
    'no answer from https://user:********@host/x'
    """
    return _PASSWORD_IN_URL.sub(rf"\1{MASK}@", text)
