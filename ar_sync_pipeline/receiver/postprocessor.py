"""The interface of all transforms: the built-in rules and a command from the settings.

Every postprocessor guarantees the following, and the contract suite tests it:

- It can be run at any time and any number of times, even before the first load. A run continues
  the unfinished work of the previous one; a run with nothing to do changes nothing.
- It only reads and writes rows: neither a failure nor a kill undoes or delays a load.
- It ends after its timeout, with all processes that it started.
- Every failure is an `ArSyncError`: a message with a remedy and without a secret.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import dagster as dg

from ar_sync_pipeline.receiver.postprocess_builtin import BuiltinPostprocessor
from ar_sync_pipeline.receiver.postprocess_command import CommandPostprocessor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.postprocess import choose_transform
from ar_sync_pipeline.transform.specification import BuiltinTransform, CommandTransform


class Postprocessor(Protocol):
    """Works on every row that is not marked transformed."""

    def run(self, context: dg.AssetExecutionContext) -> Mapping[str, Any]:
        """Run to the end; return metadata, with ``seconds``.

        Raises:
            ArSyncError: It failed; finished work is kept.
        """


def choose_postprocessor(site: ReceiverSite) -> Postprocessor | None:
    """Return the postprocessor that ``AR_SYNC_TRANSFORM`` selects; None if it is ``none``.

    Raises:
        TransformSpecificationError: The setting is invalid, or does not fit this catalog.
    """
    transform = choose_transform(site.settings, site.catalog)
    timeout_seconds = 60.0 * site.settings.transform_timeout
    if isinstance(transform, BuiltinTransform):
        return BuiltinPostprocessor(site, timeout_seconds)
    if isinstance(transform, CommandTransform):
        return CommandPostprocessor(site, transform, timeout_seconds)
    return None
