"""The process in which math-verify judges; see `unspoken.training.verifier`.

It is started as a script, reads `[gold, text]` as a line of JSON and answers with a word. Each judgement happens in a
child without the right to start programs, to write files or to speak to anyone. Nothing of Unspoken is imported here.
"""

import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

EQUAL, DIFFERENT, UNREAD, FAILED = 10, 11, 12, 13
"""Exit codes of a child."""
WORDS = {EQUAL: "equal", DIFFERENT: "different", UNREAD: "unread"}
WALL = 4
"""A child that sleeps, or waits for a busy machine, is ended after so many times its computing time."""

_FORBIDDEN = (
    "ctypes.", "fcntl.", "ftplib.", "http.", "os.chmod", "os.chown", "os.exec", "os.fork", "os.kill", "os.link",
    "os.mkdir", "os.posix_spawn", "os.remove", "os.rename", "os.rmdir", "os.spawn", "os.symlink", "os.system",
    "os.truncate", "pty.", "shutil.", "signal.", "smtplib.", "socket.", "sqlite3.", "subprocess.", "urllib.",
    "webbrowser.",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def confine(cpu_seconds: float, memory: int) -> None:
    """Limit this process for the rest of its life: computing time, memory, files, programs, network."""
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)  # the kernel ends it, whatever it is busy with
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    signal.setitimer(signal.ITIMER_REAL, WALL * cpu_seconds)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    # ended at once: an error could be caught
    if event.startswith(_FORBIDDEN) or (event == "open" and arguments[2] & _WRITING):
        os._exit(FAILED)


def compare(gold: str, text: str) -> int:
    """The exit code for what math-verify says; without its own time limits, which need the main thread's alarm."""
    import math_verify  # type: ignore[import-not-found,import-untyped,unused-ignore]

    expected = math_verify.parse(gold, parsing_timeout=None)
    found = math_verify.parse(text, parsing_timeout=None)
    if not found:
        return UNREAD
    return EQUAL if math_verify.verify(expected, found, timeout_seconds=None) else DIFFERENT


def judge(gold: str, text: str, cpu_seconds: float, memory: int) -> str:
    """The verdict of a confined child: "failed" when it ended in any other way than by giving one."""
    child = os.fork()
    if child == 0:
        _judge_and_exit(gold, text, cpu_seconds, memory)
    _, status = os.waitpid(child, 0)
    return WORDS.get(os.waitstatus_to_exitcode(status), "failed")


def _judge_and_exit(gold: str, text: str, cpu_seconds: float, memory: int) -> NoReturn:
    try:
        confine(cpu_seconds, memory)
        os._exit(compare(gold, text))
    finally:  # however it went wrong, a child never returns into the loop of its parent
        os._exit(FAILED)


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer until there are no more questions."""
    cpu_seconds, memory = float(sys.argv[1]), int(sys.argv[2])
    sys.dont_write_bytecode = True
    try:
        compare("1", "$1$")  # children find everything imported and compiled
    except ImportError:
        _say("missing")
        return
    _say("ready" if judge("1", "1", cpu_seconds, memory) == "equal" else "broken")
    for line in sys.stdin:
        gold, text = json.loads(line)
        _say(judge(gold, text, cpu_seconds, memory))


if __name__ == "__main__":
    main()
