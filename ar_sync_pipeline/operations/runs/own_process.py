"""Process of a run that a command line started, such as `dagster job execute`.

No launcher has launched such a run, so none knows whether its process still exists. The run
therefore names its process in a tag, and a launcher on the same host looks for it.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import CheckRunHealthResult, WorkerStatus

PROCESS_TAG = "ar_sync/process"
_ENDED_STATES = frozenset("ZX")
# Fields of /proc/PID/stat after the name of the program, which may have spaces (proc(5)).
_STATE, _STARTED_AT = 0, 19
# The namespace of ids outside containers (PROC_PID_INIT_INO of Linux).
_OF_HOST = "pid:[4026531836]"
_MACHINE, _BOOT = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")


def is_launched(run: dg.DagsterRun) -> bool:
    """Return whether a daemon or the UI started a run, by a launcher; only these are retried."""
    return run.remote_job_origin is not None


def name_process(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Record this process in a tag of its run, unless a launcher knows it.

    Runs like it whose process has ended are failed: perhaps no daemon runs that monitors them. An
    error of Dagster's storage is ignored: the work itself does not need it.
    """
    if is_launched(run):
        return
    with suppress(Exception):
        process_id = os.getpid()
        _, started_at = _facts(process_id)
        tag = f"{_place()} {process_id} {started_at}"
        instance.add_run_tags(run.run_id, {PROCESS_TAG: tag})
        _fail_lost_runs(instance)


def _fail_lost_runs(instance: dg.DagsterInstance) -> None:
    started = [dg.DagsterRunStatus.STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=started)):
        health = health_of_process(run)
        if health is None or health.status is not WorkerStatus.NOT_FOUND:
            continue
        # A process records its success before it ends.
        if instance.get_runs(dg.RunsFilter(run_ids=[run.run_id], statuses=started)):
            instance.report_run_failed(run, health.msg)


def health_of_process(run: dg.DagsterRun) -> CheckRunHealthResult | None:
    """Return whether the process of a run exists; None if a launcher has to know.

    A retry that the UI launched has the tags of the run before it. What runs on another host, or
    in another container, counts as running.
    """
    if is_launched(run) or PROCESS_TAG not in run.tags:
        return None
    place, process_id, started_at = run.tags[PROCESS_TAG].rsplit(" ", 2)
    if place != _place() or _exists(int(process_id), started_at):
        return CheckRunHealthResult(WorkerStatus.RUNNING, "a command line started it")
    return CheckRunHealthResult(
        WorkerStatus.NOT_FOUND, "the process that a command line started has ended"
    )


def _place() -> str:
    """Return where process ids are those of this process: the host and its namespace of ids.

    Several hosts may have one name. The id of the machine stays the same after a reboot, which
    ends all processes. In a container it may be that of the image, or be missing.
    """
    namespace = str(Path("/proc/self/ns/pid").readlink())
    host = (_text(_MACHINE) if namespace == _OF_HOST else "") or _text(_BOOT)
    return f"{socket.gethostname()} {host} {namespace}"


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except OSError:
        return ""


def _exists(process_id: int, started_at: str) -> bool:
    """Return whether a process exists that started then, and not another one with its id."""
    try:
        # Also of processes that systemd's ProtectProc hides in /proc.
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state, now_started_at = _facts(process_id)
    except OSError:
        return True
    return state not in _ENDED_STATES and now_started_at == started_at


def _facts(process_id: int) -> tuple[str, str]:
    """Return the state of a process, and when it started, in ticks since the boot."""
    stat = Path(f"/proc/{process_id}/stat").read_text("utf-8", errors="replace")
    fields = stat.rpartition(")")[2].split()
    return fields[_STATE], fields[_STARTED_AT]
