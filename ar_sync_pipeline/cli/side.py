"""For commands of one side or either: whose settings to use."""

from __future__ import annotations

import click

from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    load_receiver_settings,
    load_sender_settings,
)
from ar_sync_pipeline.settings.side import infer_side, refuse_sender

side_option = click.option(
    "--side",
    type=click.Choice(["sender", "receiver"]),
    help="Whose settings to use; needed only where those of both sides are set.",
)


def load_side(side: str | None) -> SenderSettings | ReceiverSettings:
    """Return the settings of the side that is chosen, by AR_SYNC_SIDE, or by all variables together.

    Raises:
        SideError: it is not clear which side is meant.
        SettingsError: a variable is missing, wrong or unknown.
    """
    environment = operator_environment()
    if (side or infer_side(environment)) == "receiver":
        return load_receiver_settings(environment)
    return load_sender_settings(environment)


def load_receiver(command: str) -> ReceiverSettings:
    """Return the receiver's settings, for a command that works at the receiver only.

    Raises:
        SideError: the settings are those of the sender.
        SettingsError: a variable is missing, wrong or unknown.
    """
    environment = operator_environment()
    refuse_sender(environment, command)
    return load_receiver_settings(environment)
