"""The option ``--side``, and the settings of the side that a command uses."""

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
    help="Side whose settings to use; needed only if those of both sides are set.",
)


def load_side(side: str | None) -> SenderSettings | ReceiverSettings:
    """Return the settings of a side; without one, AR_SYNC_SIDE or the variables decide.

    Raises:
        SideError: The side cannot be inferred.
        SettingsError: A variable is missing, wrong or unknown.
    """
    environment = operator_environment()
    if (side or infer_side(environment)) == "receiver":
        return load_receiver_settings(environment)
    return load_sender_settings(environment)


def load_receiver(command: str) -> ReceiverSettings:
    """Return the settings of the receiver, for a command that works only there.

    Raises:
        SideError: The settings are those of the sender.
        SettingsError: A variable is missing, wrong or unknown.
    """
    environment = operator_environment()
    refuse_sender(environment, command)
    return load_receiver_settings(environment)
