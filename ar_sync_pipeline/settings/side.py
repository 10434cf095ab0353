"""Which side an environment belongs to, for commands that work on both sides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.settings.loading import given_variables, meant, variables
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.settings.places import settings_file, unreadable_reason, unreadable_remedy
from ar_sync_pipeline.settings.values import Side

_VARIABLE: Final = "AR_SYNC_SIDE"
_CHOOSE: Final = "add --side sender or --side receiver, or set AR_SYNC_SIDE to one of the two"
_MOST_NAMED: Final = 3
_ALIKE: Final = 0.85


class SideError(TerminalError):
    """The settings do not say which side they belong to."""


def infer_side(environ: Mapping[str, str]) -> Side:
    """Return the side that the variables of an environment belong to.

    ``AR_SYNC_SIDE`` decides. Without it, a variable that only one side has counts for that side. A
    misspelt variable counts for the side whose variable it resembles most. If both sides have
    variables, the side whose required variables are all present is returned.

    Raises:
        SideError: Nothing is set, both sides are possible, or ``AR_SYNC_SIDE`` is not a side.
    """
    chosen = environ.get(_VARIABLE, "").strip()
    if chosen:
        return _parse(chosen)
    found = _evidence(environ)
    sides = [side for side in Side if found[side]]
    if len(sides) > 1:
        whole = [side for side in Side if _required(side) <= found[side].keys()]
        sides = whole or sides
    if len(sides) == 1:
        return sides[0]
    if sides:
        named = " and ".join(f"the {side} ({_names(found[side].values())})" for side in Side)
        raise SideError(f"the settings are those of {named}", remedy=_CHOOSE)
    raise _nothing_set()


def refuse_sender(environ: Mapping[str, str], command: str) -> None:
    """Refuse to run a receiver command with only the variables of the sender.

    Raises:
        SideError: The environment has variables of the sender and none of the receiver.
    """
    found = _evidence(environ)
    if found[Side.SENDER] and not found[Side.RECEIVER]:
        raise SideError(
            f"`ar-sync {command}` works at the receiver, and the settings are those of the sender"
            f" ({_names(found[Side.SENDER].values())})",
            remedy="run it on the receiver's machine, in the folder of its .env file",
        )


def _nothing_set() -> SideError:
    nothing = "no setting of the sender or the receiver is in the environment"
    reason = unreadable_reason()
    if reason is not None:
        return SideError(
            f"{nothing}, and {settings_file()} cannot be read ({reason})",
            remedy=unreadable_remedy(),
        )
    return SideError(
        f"{nothing} or in {settings_file()}",
        remedy="run the command in the folder of the .env file, or set the variables that"
        " docs/settings.md lists",
    )


def _parse(chosen: str) -> Side:
    try:
        return Side(chosen)
    except ValueError:
        raise SideError(
            f"{_VARIABLE}={chosen} is no side", remedy="set it to sender or to receiver"
        ) from None


def _evidence(environ: Mapping[str, str]) -> dict[Side, dict[str, str]]:
    """Return by side the variables that only it has, each with the name under which it is set."""
    sender, receiver = variables(SenderSettings), variables(ReceiverSettings)
    own = {Side.SENDER: sender.keys() - receiver, Side.RECEIVER: receiver.keys() - sender}
    known = sender | receiver
    found: dict[Side, dict[str, str]] = {side: {} for side in Side}
    for name in sorted(given_variables(environ)):
        candidates = [name] if name in known else meant(name, known, likeness=_ALIKE)
        sides = {side for side in Side if any(one in own[side] for one in candidates)}
        # A variable that both sides have, or that may belong to either, decides nothing.
        if len(sides) == 1 and all(one in own[side] for side in sides for one in candidates):
            found[sides.pop()].setdefault(candidates[0], name)
    return found


def _required(side: Side) -> set[str]:
    """Return the required variables that only this side has."""
    of_both = (variables(SenderSettings), variables(ReceiverSettings))
    own, other = of_both if side is Side.SENDER else reversed(of_both)
    return {name for name, it in own.items() if it.default is None and name not in other}


def _names(names: Collection[str]) -> str:
    shown = [*names][:_MOST_NAMED]
    return ", ".join(shown) + (", ..." if len(names) > _MOST_NAMED else "")
