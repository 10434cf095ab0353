"""The receiver of one pair as a Dagster component."""

import os

import dagster as dg

from ar_sync_pipeline.operations.pair_component import (
    PairAttributes,
    PairScaffolder,
    environment_of,
    read_from_yaml,
)
from ar_sync_pipeline.receiver.definitions import definitions_of
from ar_sync_pipeline.settings.model import ReceiverSettings


class ReceiverScaffolder(PairScaffolder):
    """Scaffolder of the YAML of a receiver."""

    model = ReceiverSettings


@dg.scaffold_with(ReceiverScaffolder)
class ReceiverComponent(dg.Component, PairAttributes, dg.Resolvable):
    """The receiver of one pair of servers: its assets, jobs, checks and sensors."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the same definitions as those of a separate code location.

        Raises:
            SettingsError: A setting is missing, invalid or unknown.
        """
        del context
        environ = environment_of(self, ReceiverSettings, "receiver", os.environ)
        with read_from_yaml("receiver"):
            return definitions_of(environ)
