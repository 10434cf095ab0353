"""The code location of this server's side, for tools that look for one module, such as ``dg``.

Web server and daemon load both locations by their own names instead (workspace.yaml).
"""

import os

import dagster as dg

# As modules, since Dagster looks for one function of this kind in here.
from ar_sync_pipeline.receiver import definitions as receiver
from ar_sync_pipeline.sender import definitions as sender
from ar_sync_pipeline.settings.side import infer_side
from ar_sync_pipeline.settings.values import Side


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the side that the environment sets.

    Raises:
        SideError: The environment does not say which side it is of.
        SettingsError: A setting of the side is missing, wrong or unknown.
    """
    side = sender if infer_side(os.environ) is Side.SENDER else receiver
    found: dg.Definitions = side.defs()
    return found
