"""For commands of either side: whose settings to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ar_sync_pipeline.settings import ReceiverSettings, SenderSettings

side_option = click.option(
    "--side",
    type=click.Choice(["sender", "receiver"]),
    help="Whose settings to use; needed only where those of both sides are set.",
)


def load_side(side: str | None) -> SenderSettings | ReceiverSettings:
    """The settings of a side; without a choice the receiver's where its database is set.

    Raises:
        SettingsError: a variable is missing, wrong or unknown.
    """
    from ar_sync_pipeline.cli.environment import operator_environment  # noqa: PLC0415  when it runs
    from ar_sync_pipeline.settings import (  # noqa: PLC0415
        load_receiver_settings,
        load_sender_settings,
    )

    environment = operator_environment()
    chosen = side or ("receiver" if environment.get("AR_SYNC_RECEIVER_DATABASE_URL") else "sender")
    if chosen == "receiver":
        return load_receiver_settings(environment)
    return load_sender_settings(environment)
