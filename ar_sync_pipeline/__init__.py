"""Keep a receiver in step with a sender over nothing but SFTP."""

import importlib

__version__ = "0.2.0"

_COMPONENTS = {
    "ReceiverComponent": "ar_sync_pipeline.receiver.component",
    "SenderComponent": "ar_sync_pipeline.sender.component",
}


def __getattr__(name: str) -> object:
    """Import a component when it is asked for: the command line and the engine need no Dagster."""
    if name in _COMPONENTS:
        return getattr(importlib.import_module(_COMPONENTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_COMPONENTS]
