"""The one interface of the transforms: the built-in rules and an operator's command alike.

What every postprocessor promises, and the contract suite checks:

- It may be run at any time and any number of times, also before the first load. What one run
  leaves the next one takes; a run with nothing to do changes nothing.
- It reads and writes rows only: neither a failure nor a kill undoes a load or keeps one waiting.
- It ends after its time-out, with all that it started.
- What goes wrong is an `ArSyncError`: one sentence with a remedy and without a secret.
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
        """Work to the end; returns metadata for operators, ``seconds`` among them.

        Raises:
            ArSyncError: it could not; what it has finished stays.
        """


def choose_postprocessor(site: ReceiverSite) -> Postprocessor | None:
    """What ``AR_SYNC_TRANSFORM`` asks for; None if that is ``none``.

    Raises:
        TransformSpecificationError: the setting is wrong, or this catalog cannot have it.
    """
    transform = choose_transform(site.settings, site.catalog)
    timeout_seconds = 60.0 * site.settings.transform_timeout
    if isinstance(transform, BuiltinTransform):
        return BuiltinPostprocessor(site, timeout_seconds)
    if isinstance(transform, CommandTransform):
        return CommandPostprocessor(site, transform, timeout_seconds)
    return None
