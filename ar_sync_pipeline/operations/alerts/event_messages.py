"""A problem and a remedy from the error data of a Dagster event."""

import re
from dataclasses import dataclass

from dagster_shared.error import SerializableErrorInfo

from ar_sync_pipeline.errors import known_code
from ar_sync_pipeline.operations.check_evaluation import ERROR, OF_CONNECTION, explaining_checks
from ar_sync_pipeline.operations.dagster_internals import StepFailureData

_CLASS_PREFIX = re.compile(r"^(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Failure|Interrupt|Exit): ")
_STACK = "Stack Trace:"
_BUG = "read the run's log; this is no error that the product knows, so please report it"


@dataclass(frozen=True)
class EventMessage:
    """What an event says about an error.

    Attributes:
        problem: What happened.
        remedy: What to do; empty if unknown.
        error: Its code; for an error that is not the product's, the name of its class.
        explained_by: Labels of the checks whose findings are the reason.
        is_of_connection: Whether a server refused the connection, whatever the work.
    """

    problem: str
    remedy: str
    error: str
    explained_by: tuple[str, ...] = ()
    is_of_connection: bool = False


def of_step_failure(data: StepFailureData | None) -> EventMessage:
    """Return the message of a failed step; errors of the engine contain problem and remedy."""
    given = data.user_failure_data if data else None
    if given is not None and given.description:
        metadata = {name: str(value.value) for name, value in given.metadata.items()}
        problem = metadata.get("problem") or given.description.rstrip(".")
        return EventMessage(
            problem,
            metadata.get("remedy", ""),
            metadata.get(ERROR, ""),
            explaining_checks(metadata),
            OF_CONNECTION in metadata,
        )
    if data is None or data.error is None:
        return EventMessage("the step failed without a reason", _BUG, "")
    message = of_error(data.error)
    return EventMessage(f"{message.error}: {message.problem}", _BUG, message.error)


def of_error(error: SerializableErrorInfo) -> EventMessage:
    """Return the message of the error that began a chain; those it caused say where it passed.

    An error of the product says more than what caused it, such as an error of the system, and an
    error of Dagster's more than that of a remote call. Dagster adds stacks to some messages.
    """
    while (
        (cause := error.cause) is not None
        and not known_code(error.cls_name or "")
        and "RpcError" not in (cause.cls_name or "")
    ):
        error = cause
    said = error.message.partition(_STACK)[0].strip()
    text = _CLASS_PREFIX.sub("", said).rstrip(".")
    return EventMessage(text or "no message", "", error.cls_name or "")
