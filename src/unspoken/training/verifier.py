"""math-verify as a judge of answers that nobody vouches for, in a process of its own.

Its comparison works things out (`9**9**9` too), so it must be possible to end it at any time, from any thread. The
process that `math_worker` is imports math-verify once and judges each answer in a child with limits, which is killed
when it reaches one.
"""

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias, get_args

from unspoken.errors import RecipeError

Verdict: TypeAlias = Literal["equal", "different", "unread", "failed"]
"""Of math-verify: the answer is equal to the gold one, or not, or none was found; or a limit was reached."""

_VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in get_args(Verdict)}

MAX_CHARACTERS = 1_000
"""Of a longer text only the end is read, where the answer stands."""
START_SECONDS = 120.0
"""How long the process may take to import math-verify; a busy machine needs several."""
ANSWER_SECONDS = 30.0
"""How long it may be silent; each judgement is ended long before."""
_ENVIRONMENT = ("HOME", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH")  # all that finds packages, and no secret


class Verifier:
    """Judges one answer after the other; its process ends with `close`, or when this one does.

    Args:
        cpu_seconds: Computing time of one judgement; it needs about 0.01. The clock may show four times as much.
        memory: Its address space in bytes.

    Attributes:
        num_failed: Answers on which a limit was reached so far.

    Raises:
        RecipeError: math-verify is not installed, or the system has no `fork`.
    """

    def __init__(self, cpu_seconds: float = 0.2, memory: int = 2**29) -> None:
        if not hasattr(os, "fork"):
            raise RecipeError(
                "rewards", ["math-verify is confined by means that this system lacks (fork); leave it out"]
            )
        self.num_failed = 0
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            # -P: the folder of the script holds modules of ours that have nothing to do there
            [sys.executable, "-P", str(Path(__file__).with_name("math_worker.py")), str(cpu_seconds), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the training, which ends when its step is done
        )
        greeting = self._read(START_SECONDS)
        if greeting != "ready":
            self.close()
            raise RecipeError("rewards", [_why_not(greeting)])

    def judge(self, gold: str, text: str) -> Verdict:
        """Compare the last answer in a text with a number.

        Raises:
            RuntimeError: The process has ended, or answers nothing.
        """
        assert self._process.stdin is not None, "opened as a pipe"
        request = json.dumps([gold, text[-MAX_CHARACTERS:]])
        with suppress(BrokenPipeError):  # what is read next says so
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        answer = self._read(ANSWER_SECONDS)
        if answer not in _VERDICTS:
            self.close()
            raise RuntimeError(f"the process of math-verify said {answer!r} and was ended; resume the run")
        self.num_failed += answer == "failed"
        return _VERDICTS[answer]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(BrokenPipeError):  # of a request that it no longer took
            self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, seconds: float) -> str:
        """A line from the process; nothing when it has ended or takes too long."""
        assert self._process.stdout is not None, "opened as a pipe"
        readable, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline().decode().strip() if readable else ""


def _why_not(greeting: str) -> str:
    if greeting == "missing":
        return "math-verify is not installed; pip install 'unspoken[eval]', or leave it out"
    return (
        f"math-verify started and did not find 1 equal to 1 (it said {greeting!r}), perhaps for want of memory; leave "
        "it out"
    )
