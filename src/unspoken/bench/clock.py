"""Seconds and megabytes, measured so that other work on the machine does as little harm as it can."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def alternate(actions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Wall seconds of each action, `repeats` times in turn, after one unmeasured round."""
    for action in actions.values():
        action()
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            samples[name].append(time.perf_counter() - start)
    return samples


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median over the rounds of the ratio within a round: what slows a whole round cancels."""
    return statistics.median(above / below for above, below in zip(numerator, denominator, strict=True))


def peak_megabytes() -> float:
    """Peak resident memory of this process since it began, in 2**20 bytes (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_fresh_process(module: str, *arguments: str) -> Any:
    """What `python -m module arguments` prints as JSON."""
    command = [sys.executable, "-m", module, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
