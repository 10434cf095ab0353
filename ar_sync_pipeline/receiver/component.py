"""The receiver of one pair as a Dagster component."""

import os

import dagster as dg

from ar_sync_pipeline.operations.alerts.alerting import report_warnings
from ar_sync_pipeline.operations.pair_component import (
    PairAttributes,
    PairScaffolder,
    environment_of,
)
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.settings.model import ReceiverSettings, load_receiver_settings


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
        settings = load_receiver_settings(environ)
        report_warnings(settings)
        return receiver_definitions(settings)
