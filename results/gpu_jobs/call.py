"""One call of `make gpu`: when it ends, what is kept for the next one, and where results go."""

import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from unspoken.device import environment
from unspoken.files import read_json, write_json

TRIES = 2
"""Calls in which a measurement may be begun; one that needs more than a whole call would never end."""


class OutOfTimeError(Exception):
    """The time of this call is over; what is done is kept."""


@dataclass(frozen=True, slots=True)
class Call:
    """What all jobs of a call share.

    Attributes:
        runs: Where run directories and finished measurements are kept between calls.
        out: Where the files of results go.
        device: The accelerator; the CPU in a rehearsal.
        precision: `bf16` or `fp32`.
        peak: Operations a second of the device at its peak; None where it is not known.
        command: How the call was made.
        ends: When it is over, on the monotonic clock.
    """

    runs: Path
    out: Path
    device: torch.device
    precision: str
    peak: float | None
    command: str
    ends: float

    def check(self) -> None:
        """Begin nothing more when the time is over.

        Raises:
            OutOfTimeError: It is.
        """
        if time.monotonic() >= self.ends:
            raise OutOfTimeError

    def once(self, name: str, make: Callable[[], Any], *, tries: int | None = None) -> Any:
        """What an earlier call found under this name; otherwise it is made now and kept.

        Args:
            name: Of the measurement; a file below `runs`.
            make: Makes plain values.
            tries: In how many calls it may be begun before it is given up; default: in any number.
        """
        kept, begun = self.runs / f"{name}.json", self.runs / f"{name}.begun"
        if kept.is_file():
            return read_json(kept)
        self.check()
        times = int(begun.read_text()) if begun.is_file() else 0
        if tries is not None and times >= tries:
            made: Any = {"outcome": f"given up: not finished in {times} calls"}
        else:
            begun.parent.mkdir(parents=True, exist_ok=True)
            begun.write_text(str(times + 1))
            made = make()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        # through JSON: the first call gives exactly what the later ones do
        write_json(kept, made)
        begun.unlink(missing_ok=True)
        return json.loads(kept.read_text(encoding="utf-8"))

    @contextmanager
    def results(self, job: str, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """A dictionary of figures that is written, however far it comes; `complete` says whether all of it is there."""
        figures: dict[str, Any] = {}
        complete = False
        try:
            yield figures
            complete = True
        finally:
            head = {"command": self.command, "date": datetime.now(UTC).date().isoformat(), "complete": complete}
            device = {"precision": self.precision, "peak_operations_per_second": self.peak}
            write_json(
                self.out / f"gpu-{job}.json", {**head, **device, **settings, **figures, "environment": environment()}
            )


@contextmanager
def stopping_after(seconds: float) -> Iterator[None]:
    """Send this process SIGTERM after a while: training saves and stops, anything else is `OutOfTimeError`."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError

    def ring(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """What is going on, on stderr."""
    sys.stderr.write(f"{text}\n")
