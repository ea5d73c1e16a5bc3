"""The command `unspoken`: one verb, one function. What a verb needs is imported when it runs, so that help is instant.

stdout carries results, stderr everything else. Exit codes: 0 done, 1 failed, 2 bad usage or input, 130 Ctrl-C,
141 the reader of stdout is gone, 143 told to stop.
"""

import argparse
import logging
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from unspoken import __version__
from unspoken.cli.arguments import PlacesFirst
from unspoken.cli.terminal import close_stdout, complain, open_streams, say
from unspoken.cli.verb import DONE, FAILED
from unspoken.cli.verbs import VERBS
from unspoken.processes import is_first_process, leave_group, num_processes

BAD_INPUT, INTERRUPTED, READER_GONE, TERMINATED = 2, 130, 141, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its arguments; default: those of the process.

    Returns:
        The exit code.
    """
    open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments[: arguments.index("--") if "--" in arguments else None]
    try:
        with _log_to_stderr(), _stoppable():
            code = _dispatch([argument for argument in arguments if not (debug and argument == "--debug")])
        leave_group()
        return code
    except SystemExit as stop:
        leave_group()
        return stop.code if isinstance(stop.code, int) else DONE if stop.code is None else FAILED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        close_stdout()
        return READER_GONE
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error, debug)


def _report(error: Exception, debug: bool) -> int:
    from unspoken.errors import NonFiniteError, UnspokenError

    if isinstance(error, UnspokenError):
        complain(f"error: {error}")
        return BAD_INPUT
    if isinstance(error, OSError):
        name = f": {error.filename}" if error.filename else ""
        complain(f"failed: {error.strerror or error}{name}")
        return FAILED
    known = isinstance(error, NonFiniteError) or type(error).__module__.startswith("unspoken.")
    hint = "" if debug or known else "; run it again with --debug to see where"
    complain(f"failed: {error if known else f'{type(error).__name__}: {error}'}{hint}")
    return FAILED


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write(_overview())
        return BAD_INPUT
    if arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return DONE
    if arguments[0] == "--version":
        say(f"unspoken {__version__}")
        return DONE
    two_words = " ".join(arguments[:2])
    name = two_words if two_words in VERBS else arguments[0]
    if name not in VERBS:
        return _unknown_verb(arguments)
    verb = VERBS[name]
    parser = argparse.ArgumentParser(
        prog=f"unspoken {name}",
        description=verb.help,
        allow_abbrev=False,
        epilog="--debug shows tracebacks",
        formatter_class=PlacesFirst,
    )
    verb.configure(parser)
    parsed = parser.parse_intermixed_args(arguments[len(name.split()) :])
    if num_processes() > 1 and not verb.in_processes:
        if is_first_process():
            complain(
                f"error: WORLD_SIZE says that {num_processes()} processes were started, but unspoken {name} is the "
                "work of one; start it without torchrun, or unset WORLD_SIZE"
            )
        return BAD_INPUT
    return verb.run(parsed)


def _unknown_verb(arguments: Sequence[str]) -> int:
    inner = [name for name in VERBS if name.startswith(f"{arguments[0]} ")]
    if inner:
        asked = len(arguments) > 1 and arguments[1] in ("-h", "--help")
        (sys.stdout if asked else sys.stderr).write(_overview(inner))
        return DONE if asked else BAD_INPUT
    close = get_close_matches(arguments[0], VERBS, n=1)
    hint = f"did you mean {close[0]}?" if close else "`unspoken --help` lists them"
    complain(f"error: there is no verb {arguments[0]!r}; {hint}")
    return BAD_INPUT


def _overview(names: Sequence[str] | None = None) -> str:
    shown = VERBS if names is None else {name: VERBS[name] for name in names}
    width = max(map(len, shown))
    lines = [f"  {name:<{width}}  {verb.help}" for name, verb in shown.items()]
    return "\n".join(
        [
            "usage: unspoken VERB ...",
            "",
            "Train, evaluate and run language models that reason in a continuous latent space.",
            "",
            *lines,
            "",
            "`unspoken VERB --help` says more; `unspoken demo` shows the whole in minutes.",
            "",
        ]
    )


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    logger, handler = logging.getLogger("unspoken"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("unspoken: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into an orderly exit, so that temporary files are removed; training has its own handler."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(TERMINATED)

    try:
        previous = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever runs it handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
