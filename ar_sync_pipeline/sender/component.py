"""The sender of one pair as a Dagster component."""

import os

import dagster as dg

from ar_sync_pipeline.operations.pair_component import (
    PairAttributes,
    PairScaffolder,
    environment_of,
    read_from_yaml,
)
from ar_sync_pipeline.sender.definitions import definitions_of
from ar_sync_pipeline.settings.model import SenderSettings


class SenderScaffolder(PairScaffolder):
    """Scaffolder of the YAML of a sender."""

    model = SenderSettings


@dg.scaffold_with(SenderScaffolder)
class SenderComponent(dg.Component, PairAttributes, dg.Resolvable):
    """The sender of one pair of servers: its assets, jobs, checks and sensors."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the same definitions as those of a separate code location.

        Raises:
            SettingsError: A setting is missing, invalid or unknown.
        """
        del context
        environ = environment_of(self, SenderSettings, "sender", os.environ)
        with read_from_yaml("sender"):
            return definitions_of(environ)
