"""The option ``--side``, and the settings of the side that a command uses."""

from __future__ import annotations

from typing import Final

import click

from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.settings.model import (
    ReceiverSettings,
    SenderSettings,
    SettingsError,
    load_receiver_settings,
    load_sender_settings,
)
from ar_sync_pipeline.settings.side import infer_side, refuse_sender
from ar_sync_pipeline.settings.usable import usable_settings

_UNUSED_PATHS: Final = {
    "AR_SYNC_CATALOG",
    "AR_SYNC_KNOWN_HOSTS",
    "AR_SYNC_PRIVATE_KEY",
    "AR_SYNC_RECEIVER_MEDIA_FLDR",
    "AR_SYNC_REMOTE_BKP_FLDR",
    "AR_SYNC_SENDER_MEDIA_FLDR",
    "AR_SYNC_TMP_BKP_FLDR",
}

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


def load_usable_side(
    side: str | None,
) -> tuple[SenderSettings | ReceiverSettings, SettingsError | None]:
    """Return the settings of a side of which some may be unusable, and the error that names those.

    Raises:
        SideError: The side cannot be inferred.
        SettingsError: No setting can be read without those that are wrong.
    """
    environment = operator_environment()
    try:
        return load_side(side), None
    except SettingsError as error:
        usable: SenderSettings | ReceiverSettings | None
        if (side or infer_side(environment)) == "receiver":
            usable = usable_settings(ReceiverSettings, error, environment)
        else:
            usable = usable_settings(SenderSettings, error, environment)
        if usable is None:
            raise
        return usable, error


def load_side_without_paths(
    side: str | None,
) -> tuple[SenderSettings | ReceiverSettings, SettingsError | None]:
    """Return the settings of a side for a command that uses no path of them but the state folder's.

    A disk that is not mounted must not hide the incidents. The error names the paths that cannot
    be used.

    Raises:
        SideError: The side cannot be inferred.
        SettingsError: Another variable is missing, wrong or unknown.
    """
    settings, error = load_usable_side(side)
    if error is not None and any(one.variable not in _UNUSED_PATHS for one in error.problems):
        raise error
    return settings, error


def load_receiver(command: str) -> ReceiverSettings:
    """Return the settings of the receiver, for a command that works only there.

    Raises:
        SideError: The settings are those of the sender.
        SettingsError: A variable is missing, wrong or unknown.
    """
    environment = operator_environment()
    refuse_sender(environment, command)
    return load_receiver_settings(environment)
