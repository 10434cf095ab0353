"""The settings of the two sides, read from environment variables.

``AR_SYNC_<NAME>`` becomes the field ``<name>``. Everything is validated at load, and all errors
are reported at once. Secrets are ``SecretStr``: neither ``repr`` nor a message shows them; call
``get_secret_value()`` where they are used.

The annotation of a field contains the meaning of its variable. ``docs/settings.md`` and the two
example files are written by hand, and a test compares them with this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import (
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from ar_sync_pipeline.settings.common import (
    DAYS_OF_A_YEAR,
    CommonSettings,
    Database,
    File,
    Flag,
    Folder,
    Host,
    Port,
    SecretAddress,
    WritableFolder,
)
from ar_sync_pipeline.settings.loading import (
    DescribedVariable,
    SettingProblem,
    SettingsError,
    Variable,
    load,
    variables,
)
from ar_sync_pipeline.settings.path_values import sftp_path
from ar_sync_pipeline.settings.pseudonym import PseudonymSettings
from ar_sync_pipeline.settings.values import (
    CompleteCarries,
    OldArchives,
    SchemaDrift,
    database_label,
    file_patterns,
    invalid_value,
    one_of,
    patterns_to_send,
    transform_choice,
    two_windows,
    whole_number,
)

__all__ = [
    "CompleteCarries",
    "DescribedVariable",
    "OldArchives",
    "ReceiverSettings",
    "SchemaDrift",
    "SenderSettings",
    "SettingProblem",
    "SettingsError",
    "Variable",
    "database_label",
    "load_receiver_settings",
    "load_sender_settings",
    "variables",
]


class SenderSettings(PseudonymSettings, CommonSettings):
    """Settings of the production side. Build them with `load_sender_settings`."""

    sender_database_url: Annotated[
        Database,
        Variable(
            "Production database, as a libpq URL or keyword string; PGPASSFILE works.",
            "postgresql://ar_sync_sender@db.internal:5432/transapp",
        ),
    ]
    sender_media_fldr: Annotated[
        Folder, Variable("Folder of the media files; subfolders are read.", "/srv/server/media")
    ]
    media_patterns: Annotated[
        tuple[str, ...],
        BeforeValidator(patterns_to_send),
        Variable(
            "Patterns of the files that are replicated besides those that rows name, comma"
            " separated.",
            "*.jpeg,*.jpg,*.png",
        ),
    ] = ("*.jpeg",)
    tmp_bkp_fldr: Annotated[
        WritableFolder,
        Variable(
            "Scratch folder in which archives are built; only this account may write to it.",
            "/var/lib/ar_sync/scratch",
        ),
    ]
    complete_carries: Annotated[
        CompleteCarries,
        one_of(*CompleteCarries),
        Variable(
            "What a complete carries: the changes since the newest complete that the receiver has "
            "applied, or everything.",
            "changes",
        ),
    ] = CompleteCarries.CHANGES
    complete_verify_days: Annotated[
        int,
        whole_number(0, DAYS_OF_A_YEAR, "days"),
        Variable(
            "Days after which a complete computes the digests of unchanged chunks again, which it "
            "otherwise takes from the complete before; 0: every complete does.",
            "7",
        ),
    ] = 7
    start_early: Annotated[
        int,
        whole_number(0, 60, "seconds"),
        Variable(
            "Seconds before a window's end at which its run is started, because a process needs "
            "some to start: it waits for the end, and then takes the snapshot. At most half a "
            "window; 0: at the end.",
            "45",
        ),
    ] = 45
    acknowledge_within: Annotated[
        int,
        whole_number(1, 7 * 24 * 60, "minutes"),
        Variable(
            "Minutes after which an archive of which the receiver has said nothing fails a check.",
            "30",
        ),
    ] = 30
    remote_host: Annotated[Host, Variable("The receiver's SFTP server.", "viz.example.org")]
    remote_port: Annotated[Port, Variable("Its port.", "22")] = 22
    remote_user: Annotated[str, Variable("Account at the SFTP server.", "ar_sync_sender")]
    private_key: Annotated[
        File | None,
        Variable(
            "Private key of that account; without it the SSH agent is asked.",
            "/etc/ar_sync/id_ed25519",
        ),
    ] = None
    private_key_passphrase: Annotated[
        SecretStr | None, Variable("Passphrase of the private key.", "")
    ] = None
    known_hosts: Annotated[
        File,
        Variable("File in which the SFTP server's host key is pinned.", "/etc/ar_sync/known_hosts"),
    ]
    remote_bkp_fldr: Annotated[
        PurePosixPath,
        BeforeValidator(sftp_path),
        Variable("The spool, as this account sees it over SFTP.", "/spool"),
    ]
    max_connections: Annotated[
        int,
        whole_number(1, 8),
        Variable(
            "Connections at most that send one archive; more than one is used only where the round"
            " trip is 10 ms or longer.",
            "4",
        ),
    ] = 4
    bandwidth_limit: Annotated[
        int,
        whole_number(0, 100_000, "megabits per second"),
        Variable("Megabits per second that an upload may use; 0 for no limit.", "0"),
    ] = 0

    @property
    def database_url(self) -> str:
        """Connection string of the production database, with its password."""
        return self.sender_database_url.get_secret_value()

    @field_validator("tmp_bkp_fldr")
    @classmethod
    def _scratch_apart_from_media(cls, path: Path, info: ValidationInfo) -> Path:
        return _apart(path, info.data.get("sender_media_fldr"), "AR_SYNC_SENDER_MEDIA_FLDR")


class ReceiverSettings(CommonSettings):
    """Settings of the visualization side. Build them with `load_receiver_settings`."""

    receiver_database_url: Annotated[
        Database,
        Variable(
            "Visualization database, as a libpq URL or keyword string; PGPASSFILE works.",
            "postgresql://ar_sync_receiver@localhost:5432/transapp_viz",
        ),
    ]
    receiver_media_fldr: Annotated[
        WritableFolder, Variable("Folder into which media files are installed.", "/srv/viz/media")
    ]
    receiver_media_allow: Annotated[
        tuple[str, ...],
        BeforeValidator(file_patterns),
        Variable(
            "Hidden files, and types that a web server may run or render (.php, .html, .svg), are "
            "left out of the media folder unless one of these patterns names them, comma "
            "separated.",
            "",
        ),
    ] = ()
    remote_bkp_fldr: Annotated[
        WritableFolder, Variable("The spool, as a local folder.", "/srv/ar_sync/spool")
    ]
    bkps_lifetime: Annotated[
        int,
        whole_number(1, 10 * DAYS_OF_A_YEAR, "days"),
        Variable("Days to keep applied complete archives; applied partials stay a day.", "4"),
    ] = 4
    schema_drift: Annotated[
        SchemaDrift,
        one_of(*SchemaDrift),
        Variable(
            "What to do with an archive whose columns differ: park it, or ignore the columns "
            "that the receiver does not have.",
            "park",
        ),
    ] = SchemaDrift.PARK
    old_archives: Annotated[
        OldArchives,
        one_of(*OldArchives),
        Variable(
            "Whether to accept archives of the old system, which carry no identity and no "
            "signature, until the first archive of the new sender; or to refuse them.",
            "refuse",
        ),
    ] = OldArchives.REFUSE
    old_time: Annotated[
        int,
        whole_number(0, DAYS_OF_A_YEAR * 24 * 60, "minutes"),
        Variable(
            "Minutes that a partial of the old system looks back from the time in its name: the "
            "old sender's TIME. 0: AR_SYNC_TIME, and a lost old partial may not be noticed.",
            "0",
        ),
    ] = 0
    delete_guard: Annotated[
        int,
        whole_number(0, 100, "percent"),
        Variable(
            "Percent of a large table that an archive may delete before it is parked until an "
            "operator allows it; 100 switches the guard off.",
            "5",
        ),
    ] = 5
    media_delete: Annotated[
        Flag, Variable("Whether a complete removes media that the sender no longer has.", "false")
    ] = False
    transform: Annotated[
        str,
        BeforeValidator(transform_choice),
        Variable(
            "What follows a load: builtin:transapp, none, or command:<words> with {archive} "
            "{minutes} {window_start} {window_end}.",
            "builtin:transapp",
        ),
    ] = "builtin:transapp"
    transform_timeout: Annotated[
        int,
        whole_number(1, 24 * 60, "minutes"),
        Variable("Minutes after which a transform is stopped.", "60"),
    ] = 60
    transform_max_age: Annotated[
        int,
        whole_number(1, 7 * 24 * 60, "minutes"),
        Variable("Minutes that a loaded row may stay untransformed before a check fails.", "30"),
    ] = 30
    heartbeat_url: Annotated[
        SecretAddress | None,
        Variable(
            "Address that is called after every load that applied an archive, for a monitor that "
            "notices silence.",
            "",
        ),
    ] = None
    max_lag: Annotated[
        int,
        whole_number(2, 7 * 24 * 60, "minutes"),
        Variable(
            "Minutes that the receiver may be behind before a check fails; at least twice "
            "AR_SYNC_PARTIAL_INTERVAL.",
            "30",
        ),
    ] = 30

    @property
    def old_look_back(self) -> timedelta:
        """Duration between the start of an old partial's window and the time of its name."""
        return timedelta(minutes=self.old_time or self.time)

    @property
    def database_url(self) -> str:
        """Connection string of the visualization database, with its password."""
        return self.receiver_database_url.get_secret_value()

    @field_validator("max_lag")
    @classmethod
    def _partials_can_keep_up(cls, max_lag: int, info: ValidationInfo) -> int:
        return two_windows(max_lag, info, "since a window is sent when it is over")

    @field_validator("remote_bkp_fldr")
    @classmethod
    def _spool_apart_from_media(cls, path: Path, info: ValidationInfo) -> Path:
        return _apart(path, info.data.get("receiver_media_fldr"), "AR_SYNC_RECEIVER_MEDIA_FLDR")


def _apart(path: Path, other: Path | None, variable: str) -> Path:
    """Refuse overlapping folders: what is written or deleted in one must not change the other."""
    if other is not None:
        one, two = path.resolve(), other.resolve()
        if one.is_relative_to(two) or two.is_relative_to(one):
            raise invalid_value(
                f"overlaps with {variable}", "use two folders, neither in the other"
            )
    return path


def side_of(settings: SenderSettings | ReceiverSettings) -> str:
    """Return ``sender`` or ``receiver``: the side that these settings are for."""
    return "sender" if isinstance(settings, SenderSettings) else "receiver"


def load_sender_settings(environ: Mapping[str, str]) -> SenderSettings:
    """Read the sender's settings from an environment.

    Raises:
        SettingsError: A variable is missing, invalid or unknown; it lists every error.
    """
    return load(
        SenderSettings,
        side="sender",
        other=ReceiverSettings,
        environ=environ,
        found_before=_login_problems(environ),
    )


def load_receiver_settings(environ: Mapping[str, str]) -> ReceiverSettings:
    """Read the receiver's settings from an environment.

    Raises:
        SettingsError: A variable is missing, invalid or unknown; it lists every error.
    """
    return load(ReceiverSettings, side="receiver", other=SenderSettings, environ=environ)


def _login_problems(environ: Mapping[str, str]) -> list[SettingProblem]:
    """Return an error if there is neither a private key nor an SSH agent: no login can succeed."""
    if environ.get("AR_SYNC_PRIVATE_KEY", "").strip() or environ.get("SSH_AUTH_SOCK"):
        return []
    name = "AR_SYNC_PRIVATE_KEY"
    remedy = "name the private key's file, or start an SSH agent (SSH_AUTH_SOCK)"
    return [SettingProblem(name, "is not set and no SSH agent runs", remedy, name)]
