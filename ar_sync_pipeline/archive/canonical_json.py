"""Canonical JSON of a manifest, and its signature."""

from __future__ import annotations

import hashlib
import hmac
import json


def signature_of(manifest_json: bytes, key: bytes) -> str:
    """Return the HMAC-SHA256 of a manifest's JSON without its ``hmac`` field.

    It is computed from the received JSON, not from the model, so that a newer version with more
    optional fields accepts the signature of an older sender.
    """
    content = json.loads(manifest_json)
    content.pop("hmac", None)
    return hmac.new(key, canonical_json(content), hashlib.sha256).hexdigest()


def canonical_json(content: object) -> bytes:
    """Return JSON in canonical form: sorted keys, no blanks, UTF-8, finite numbers."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
