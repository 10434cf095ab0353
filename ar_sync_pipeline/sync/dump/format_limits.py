"""Description of what an archive contains, within the limits of its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.manifest_reader import first_problem
from ar_sync_pipeline.sync.errors import BeyondFormatError


@contextmanager
def describing(what: str) -> Iterator[None]:
    """Make parts of a manifest in a block.

    Args:
        what: What is described, for messages.

    Raises:
        BeyondFormatError: A part is beyond the limits of the format.
    """
    try:
        yield
    except ValidationError as error:
        problem = first_problem(error).lstrip(", ")
        raise BeyondFormatError(printable(what), problem) from error
