"""Progress of long work, where somebody looks: on stderr, if it is a terminal, of the first process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from unspoken.processes import is_first_process


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar, or one below an outer one: a function of what is done, how much of it, and of how much."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    console = Console(stderr=True)
    hidden = not (console.is_terminal and is_first_process())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden) as progress:

        def advance(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=done)

        yield advance
