"""Being told to stop: the handler only sets a flag, and the loop looks at it between steps."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from unspoken.processes import is_first_process

SAID = b"\nunspoken: told to stop: the step is finished and saved first; a second signal ends all at once\n"


@dataclass(slots=True)
class StopRequest:
    """Set by SIGTERM or Ctrl-C.

    Attributes:
        signal: Number of the signal, 0 while there is none.
    """

    signal: int = 0

    @property
    def exit_code(self) -> int:
        """128 + signal: 143 after SIGTERM, 130 after Ctrl-C."""
        return 128 + self.signal


class Stopped(SystemExit):
    """A signal ended the run after it was saved; `code` is 128 + the signal's number."""


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGTERM and SIGINT for a while; the second one ends the process at once."""
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        if request.signal:
            os._exit(128 + number)
        request.signal = number
        if is_first_process():
            os.write(2, SAID)  # print could be in the middle of a line, and may not be entered twice

    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
