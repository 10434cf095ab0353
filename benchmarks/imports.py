"""What a code location costs before it does anything: each run's process pays it once.

    .venv/bin/python -m benchmarks.imports

A new process imports each code location several times; the medians are printed as markdown.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

_ROUNDS = 5
_LOCATIONS = ("ar_sync_pipeline.sender", "ar_sync_pipeline.receiver")
_UNWANTED = ("pandas", "numpy", "shapely", "paramiko")
_CHILD = """
import importlib, json, resource, sys
importlib.import_module(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, len(sys.modules),
                  [name for name in sys.argv[2:] if name in sys.modules]]))
"""


def main() -> None:
    """Print the table."""
    print(
        "\n| code location | CPU s | memory MB | modules | of them heavy |\n|---|--:|--:|--:|---|"
    )
    for location in ("dagster", *_LOCATIONS):
        runs = [_measure(location) for _ in range(_ROUNDS)]
        seconds = statistics.median(run[0] for run in runs)
        megabytes = statistics.median(run[1] for run in runs)
        modules = statistics.median(run[2] for run in runs)
        heavy = ", ".join(runs[0][3]) or "none"
        print(f"| `{location}` | {seconds:.1f} | {megabytes:.0f} | {modules:.0f} | {heavy} |")


def _measure(location: str) -> tuple[float, float, int, list[str]]:
    command = [sys.executable, "-c", _CHILD, location, *_UNWANTED]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return found[0], found[1], found[2], found[3]


if __name__ == "__main__":
    main()
