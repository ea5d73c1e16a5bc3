"""Seconds of training over several calls, and after how many of them each validation was done."""

import json
import threading
import time
from pathlib import Path
from typing import Any

from unspoken.files import read_json, write_json

EVERY = 0.5
"""Seconds between two looks."""
KEPT_EVERY = 5.0
"""Seconds of which a call that is killed loses no more."""


class Stopwatch:
    """Runs while a training runs, and looks into its log; goes on where the last call stopped it.

    All that training does is in the seconds: data, validation, saving, and what a killed call has to do again.

    Args:
        log: The `metrics.jsonl` of the run.
        kept: Where seconds and validations are kept.
    """

    def __init__(self, log: Path, kept: Path) -> None:
        self.log, self.kept = log, kept
        before = read_json(kept) if kept.is_file() else {"seconds": 0.0, "validations": []}
        self.before: float = before["seconds"]
        self.validations: list[dict[str, Any]] = before["validations"]
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Stopwatch":
        """Start it."""
        self.start = self.kept_at = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self.stopped.set()
        self.thread.join()
        self._look()
        self._keep()

    def _watch(self) -> None:
        while not self.stopped.wait(EVERY):
            if self._look() or time.monotonic() >= self.kept_at + KEPT_EVERY:
                self._keep()

    def _look(self) -> bool:
        """Whether there are new validations in the log."""
        if not self.log.is_file():
            return False
        # all of it: a run that goes on, and one that ends, writes its log anew
        whole = self.log.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines() if b'"eval_accuracy"' in line]
        seen = {each["step"] for each in self.validations}
        found = [line for line in lines if line["step"] not in seen]
        for line in found:
            step, accuracy = line["step"], line["eval_accuracy"]
            self.validations.append({"step": step, "accuracy": accuracy, "seconds": self._seconds()})
        return bool(found)

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def _keep(self) -> None:
        self.kept_at = time.monotonic()
        write_json(self.kept, {"seconds": self._seconds(), "validations": self.validations})
