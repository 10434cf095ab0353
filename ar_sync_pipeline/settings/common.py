"""The settings that both sides have: identity, schedule, alerts, housekeeping."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from ar_sync_pipeline.settings.loading import (
    Variable,
)
from ar_sync_pipeline.settings.path_values import folder, own_folder, readable_file
from ar_sync_pipeline.settings.signing import NOT_SIGNED, SigningSettings
from ar_sync_pipeline.settings.values import (
    Side,
    address,
    addresses,
    cron_line,
    divisor_of_hour,
    host_name,
    invalid_value,
    libpq_string,
    one_of,
    pair_name,
    plain_word,
    time_zone,
    two_windows,
    web_address,
    whole_number,
    yes_or_no,
)

DAYS_OF_A_YEAR: Final = 365
_SUBMISSIONS_PORT: Final = 465

Database = Annotated[SecretStr, BeforeValidator(libpq_string)]
Flag = Annotated[bool, BeforeValidator(yes_or_no)]
Folder = Annotated[Path, folder(writable=False)]
WritableFolder = Annotated[Path, folder(writable=True)]
File = Annotated[Path, BeforeValidator(readable_file)]
SecretAddress = Annotated[SecretStr, BeforeValidator(web_address)]
Host = Annotated[str, BeforeValidator(host_name)]
Port = Annotated[int, whole_number(1, 65535)]


class CommonSettings(SigningSettings):
    """Settings of both sides."""

    side: Annotated[
        Annotated[Side, one_of(*Side)] | None,
        Variable(
            "Whose settings these are, for the command line: sender or receiver; needed only where "
            "one file serves both sides.",
            "sender",
        ),
    ] = None
    pair: Annotated[
        str,
        BeforeValidator(pair_name),
        Variable(
            "Name of this pair of servers where several share one Dagster instance, the same on "
            "both sides: the prefix of asset keys, jobs, schedules, sensors and pools; an archive "
            "of another pair is refused.",
            "santiago",
        ),
    ] = ""
    sender_name: Annotated[
        str,
        BeforeValidator(plain_word),
        Variable(
            "Stable name of the sender in every archive's identity; where the receiver sets it, "
            "only archives of that name are accepted, and the database cluster behind the name "
            "may change.",
            "production",
        ),
    ] = ""
    catalog: Annotated[
        File | None,
        Variable(
            "Catalog of the replicated tables, in TOML; without it the AndroidRequests one that "
            "is part of the product.",
            "/etc/ar_sync/catalog.toml",
        ),
    ] = None
    partial_interval: Annotated[
        int,
        BeforeValidator(divisor_of_hour),
        Variable("Minutes of a window; windows are aligned to the clock.", "5"),
    ] = 5
    time: Annotated[
        int,
        whole_number(2, DAYS_OF_A_YEAR * 24 * 60, "minutes"),
        Variable(
            "Minutes that a partial looks back from its window's end; at least twice "
            "AR_SYNC_PARTIAL_INTERVAL.",
            "15",
        ),
    ] = 15
    partitions_start: Annotated[
        int,
        whole_number(1, DAYS_OF_A_YEAR, "days"),
        Variable(
            "Days back from today that the grid of windows in Dagster reaches, but not before the "
            "installation; at most AR_SYNC_RUN_LIFETIME.",
            "7",
        ),
    ] = 7
    run_lifetime: Annotated[
        int,
        whole_number(1, DAYS_OF_A_YEAR, "days"),
        Variable(
            "Days that Dagster keeps runs that succeeded, with their logs and plots; others stay "
            "twice as long.",
            "7",
        ),
    ] = 7
    complete_cron: Annotated[
        str,
        BeforeValidator(cron_line),
        Variable(
            "When the sender sends a complete, in AR_SYNC_TIMEZONE; equal on both sides, because "
            "the receiver reports it when none comes for longer.",
            "30 3 * * *",
        ),
    ] = "30 3 * * *"
    timezone: Annotated[
        str,
        BeforeValidator(time_zone),
        Variable("Time zone of the schedule and of the city's clock.", "America/Santiago"),
    ] = "America/Santiago"
    max_blocking_seconds: Annotated[
        int,
        whole_number(1, 3600, "seconds"),
        Variable(
            "Seconds that a statement of another session may wait for a lock of a dump or a load"
            " before that is ended and tried again.",
            "30",
        ),
    ] = 30
    free_space_floor: Annotated[
        int,
        whole_number(0, 90, "percent"),
        Variable("Percent of free disk space under which an incident is raised.", "10"),
    ] = 10
    admins: Annotated[
        tuple[str, ...],
        BeforeValidator(addresses),
        Variable(
            "Mail addresses to which incidents are reported, comma separated.", "ops@example.org"
        ),
    ] = ()
    email_host: Annotated[
        Host, Variable("Mail server that takes the alerts.", "smtp.example.org")
    ] = "localhost"
    email_port: Annotated[Port, Variable("Its port.", "587")] = 25
    email_host_user: Annotated[str, Variable("User at the mail server.", "ar_sync")] = ""
    email_host_password: Annotated[SecretStr, Variable("Password at the mail server.", "")] = (
        SecretStr("")
    )
    email_use_tls: Annotated[
        Flag,
        Variable(
            "Whether to use STARTTLS with the mail server; on port 465 the connection is encrypted "
            "from its beginning, whatever this says.",
            "true",
        ),
    ] = False
    server_email: Annotated[
        str,
        BeforeValidator(address),
        Variable("Address that alerts are sent from.", "ar_sync@example.org"),
    ] = "root@localhost"
    webhook_url: Annotated[
        SecretAddress | None,
        Variable("Address to which every alert is also posted as JSON.", ""),
    ] = None
    dagster_url: Annotated[
        Annotated[str, BeforeValidator(web_address)] | None,
        Variable(
            "Address of the Dagster UI, for links in alerts; without it they name the run.",
            "https://dagster.example.org",
        ),
    ] = None
    docs_url: Annotated[
        Annotated[str, BeforeValidator(web_address)] | None,
        Variable(
            "Address under which the folder docs is published, for links to the runbook; without "
            "it descriptions and alerts name the path of the page.",
            "https://git.example.org/ar_sync_pipeline/docs",
        ),
    ] = None
    state_fldr: Annotated[
        Path,
        BeforeValidator(own_folder),
        Variable(
            "Folder in which each side keeps its open incidents and unsent alerts; it is made when "
            "it is needed.",
            "/var/lib/ar_sync",
        ),
    ] = Path("~/.local/state/ar_sync_pipeline")

    @field_validator("time")
    @classmethod
    def _windows_overlap(cls, time: int, info: ValidationInfo) -> int:
        return two_windows(time, info, "so that a change is sent by two windows")

    @field_validator("run_lifetime")
    @classmethod
    def _grid_shows_what_is_kept(cls, run_lifetime: int, info: ValidationInfo) -> int:
        grid = info.data.get("partitions_start")
        if grid is not None and run_lifetime < grid:
            raise invalid_value(
                f"is less than AR_SYNC_PARTITIONS_START ({grid} days)",
                f"set at least {grid}, or a smaller grid, which would show windows as missing when"
                " their runs are deleted",
            )
        return run_lifetime

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are valid but unwise, one sentence each."""
        found = []
        if not self.admins:
            found.append("AR_SYNC_ADMINS is not set: incidents are not reported by mail.")
        if self.signing_key is None:
            found.append(NOT_SIGNED)
        encrypted = self.email_use_tls or self.email_port == _SUBMISSIONS_PORT
        if self.email_host_user and not encrypted and self.email_host != "localhost":
            found.append("AR_SYNC_EMAIL_USE_TLS is false: the mail password is sent in clear text.")
        return tuple(found)
