"""`unspoken demo`: the main job, small. Three methods learn to follow pointers; two of them may think first.

The runs are ordinary `unspoken train` and `unspoken eval` commands, each in a process with one thread: a model this
small gains nothing from a second one, and the runs keep all cores busy side by side.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from unspoken import files
from unspoken.errors import DataError
from unspoken.recipe import load_recipe
from unspoken.report import write_report

METHODS = {"coconut": "hops/coconut", "cot": "hops/cot", "no_cot": "hops/no_cot"}
"""Name of a run and its recipe; the longest first, so that it begins first."""


class DemoError(RuntimeError):
    """A command of the demo failed; its log says why."""


def demo(out: Path) -> Path:
    """Train, evaluate with and without thoughts, and report.

    Args:
        out: Where the runs go; runs of an earlier demo there are replaced.

    Returns:
        The report. Beside it lies `results.json` with the figures of each method.

    Raises:
        DemoError: A command failed.
    """
    for name in METHODS:
        files.remove(out / name)
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    _run_all(out)
    results = {name: files.read_json(out / name / "results.json") for name in METHODS}
    seconds = round(time.monotonic() - started, 1)
    files.write_json(out / "results.json", {"seconds": seconds, "methods": results})
    return write_report([out / name for name in METHODS], out / "report.html")


def table(results: Mapping[str, Any]) -> str:
    """The figures of a demo as lines of text."""
    lines = [f"{'method':<10} {'accuracy':>8}  {'95% interval':<16} {'thoughts zeroed':>15} {'words':>6} {'passes':>7}"]
    for name, figures in results["methods"].items():
        low, high = figures["interval"]
        zeroed = f"{figures['accuracy_without_thoughts']:.3f}" if figures["thoughts_per_answer"] else "has none"
        lines.append(
            f"{name:<10} {figures['accuracy']:>8.3f}  [{low:.3f}, {high:.3f}] {zeroed:>16} "
            f"{figures['tokens_per_answer']:>6.1f} {figures['passes_per_answer']:>7.1f}"
        )
    return "\n".join(lines)


def _run_all(out: Path) -> None:
    """Train and evaluate every method, as many at once as there are cores."""
    waiting = list(METHODS)
    running: dict[str, subprocess.Popen[bytes]] = {}
    columns = (TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.fields[shown]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bars = {name: progress.add_task(name, total=_steps(METHODS[name]), shown="waiting") for name in METHODS}
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    name = waiting.pop(0)
                    running[name] = _start(name, out)
                for name, process in list(running.items()):
                    _show(progress, bars[name], out / name)
                    if process.poll() is not None:
                        del running[name]
                        _finish(name, process, out)
                        progress.update(bars[name], completed=_steps(METHODS[name]), shown="done")
                time.sleep(0.5)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()


def _start(name: str, out: Path) -> subprocess.Popen[bytes]:
    """Begin `unspoken train RECIPE` and then `unspoken eval RUN` in one process, quietly."""
    steps: Sequence[Sequence[str]] = (
        ["train", METHODS[name], "--out", str(out / name)],
        ["eval", str(out / name), "--split", "test"],
    )
    program = f"import sys; from unspoken.cli import main; sys.exit(next(filter(None, map(main, {steps!r})), 0))"
    with (out / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
        )


def _finish(name: str, process: subprocess.Popen[bytes], out: Path) -> None:
    log = out / f"{name}.log"
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise DemoError(f"{name} ended with exit code {process.returncode}; the end of {log}:\n{tail}")


def _steps(recipe: str) -> int:
    from unspoken.plan import plan

    return plan(load_recipe(recipe)).total_steps or 1


def _show(progress: Progress, bar: TaskID, run: Path) -> None:
    try:
        rows = files.read_json_lines(run / "metrics.jsonl", torn=True)
    except DataError:
        progress.update(bar, shown="starting")
        return
    accuracies = [row["eval_accuracy"] for row in rows if "eval_accuracy" in row]
    shown = f"stage {rows[-1]['stage']}" + (f", accuracy {accuracies[-1]:.2f}" if accuracies else "")
    progress.update(bar, completed=rows[-1]["step"], shown=shown)
