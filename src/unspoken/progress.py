"""Progress of long work, on stderr, of the first process: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unspoken.processes import is_first_process

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


def width_of_count(total: int) -> int:
    """What `done/total` takes at the most."""
    return 2 * len(str(total)) + 1


def count_columns(width: int) -> "tuple[ProgressColumn, ProgressColumn, ProgressColumn]":
    """A bar, how far of how much, and how long still: on a narrow terminal the bar gives way, the others do not.

    Args:
        width: See `width_of_count`; a column may be told a larger one later.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.table import Column

    count, remaining = (Column(no_wrap=True, min_width=least) for least in (width, len("0:00:00")))
    return BarColumn(), MofNCompleteColumn(table_column=count), TimeRemainingColumn(table_column=remaining)


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar, or one below an outer one: a function of what is done, how much of it, and of how much."""
    from rich.console import Console
    from rich.progress import Progress, TaskID, TextColumn

    bar, count, remaining = count_columns(0)
    console = Console(stderr=True)
    hidden = not (console.is_terminal and is_first_process())
    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description:<12}"), bar, count, TextColumn(unit), remaining)
    with Progress(*columns, console=console, disable=hidden) as progress:

        def advance(name: str, done: int, total: int) -> None:
            if name not in bars:
                column = count.get_table_column()
                column.min_width = max(column.min_width or 0, width_of_count(total))
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=done)

        yield advance


def progress_line(name: str, done: int, total: int, figures: Mapping[str, str]) -> None:
    """One line for who reads it in a file; on a terminal nothing, as there is a bar.

    Args:
        name: What is done, in which unit.
        done: How much of it.
        total: Of how much.
        figures: What else there is to say, by name.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if is_first_process() and not console.is_terminal:
        said = ", ".join([f"{name} {done}/{total}", *(f"{key} {value}" for key, value in figures.items())])
        console.print(f"unspoken: {said}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def without_library_bars() -> Iterator[None]:
    """Keep the library from drawing bars of its own through ours, where it writes and reads files of this machine."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
