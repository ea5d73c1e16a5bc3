"""`unspoken demo`: the main job, small. Four methods learn to follow pointers; then the one that thinks is audited.

`unspoken demo --pretrained` trains nothing: a model that comes with Unspoken is evaluated, audited and inspected.

Everything is an ordinary command, `unspoken train`, `eval`, `audit` or `inspect`, in a process with one thread: a model
this small gains nothing from a second one, and the commands keep all cores busy side by side.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from unspoken import files
from unspoken.errors import DataError, RecipeError
from unspoken.pretrained import copy_pretrained, pretrained_models
from unspoken.recipe import load_recipe
from unspoken.report import write_report
from unspoken.run_directory import AUDIT, METRICS, RESULTS, read_recipe
from unspoken.tasks.make import make

METHODS = {"coconut": "hops/coconut", "cot": "hops/cot", "pause": "hops/pause", "no_cot": "hops/no_cot"}
"""Name of a run and its recipe; the longest first, so that it begins first."""
AUDITED = "coconut"
"""The run that is audited beside the others, and inspected."""
CONTROL = "pause"
"""A run with slots but without thoughts, which is audited, too."""
SHIPPED = "prosqa-small"
"""The model that `--pretrained` studies."""

PROGRAM = """
import sys
from unspoken.cli import main

for command in {}:
    sys.argv[1:] = command  # what files of results say they were made by
    if code := main(command):
        sys.exit(code)
"""

Commands: TypeAlias = Sequence[Sequence[str]]
"""Commands of one process, one after the other."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What one process does.

    Attributes:
        name: What it is called.
        commands: Its commands.
        run: The run whose log tells how far it is; None where nothing tells it.
        num_steps: Optimizer steps; None where it trains nothing.
    """

    name: str
    commands: Commands
    run: Path | None = None
    num_steps: int | None = None


class DemoError(RuntimeError):
    """A command of the demo failed; its log says why."""


def demo(out: Path) -> Path:
    """Train, evaluate with and without thoughts, audit, inspect, and report.

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
    _run_all(_trainings(out), out)
    _run_all(_studies(out), out)
    results = {name: files.read_json(out / name / "results.json") for name in METHODS}
    seconds = round(time.monotonic() - started, 1)
    necessity = {name: files.read_json(out / name / AUDIT)["necessity"] for name in (AUDITED, CONTROL)}
    files.write_json(out / "results.json", {"seconds": seconds, "methods": results, "necessity": necessity})
    return write_report([out / name for name in METHODS], out / "report.html")


def demo_pretrained(out: Path, rows: int | None = None) -> Path:
    """Evaluate a shipped model with and without thoughts, audit it, inspect it, and report; nothing is trained.

    Args:
        out: Where its copy goes; that of an earlier demo there is replaced.
        rows: Only the first so many test rows; default: all.

    Returns:
        The report. Beside it lies `results.json` with the figures.

    Raises:
        DemoError: A command failed.
        RecipeError: There are not so many rows.
    """
    task = read_recipe(pretrained_models()[SHIPPED]).task
    all_rows = int(task.describe()["test_rows"])
    if rows is not None and not 2 <= rows <= all_rows:
        raise RecipeError("unspoken demo", [f"rows: {rows} of {all_rows:,} test rows; give 2 to {all_rows:,}"])
    run, few = out / SHIPPED, out / "rows.jsonl"
    for earlier in (run, few):
        files.remove(earlier)
    started = time.monotonic()
    copy_pretrained(SHIPPED, run)
    which = ["--split", "test"]
    if rows is not None:
        make(task.model_copy(update={"test_rows": rows}), "test", few)
        which = ["--data", str(few)]
    _run_all([Job(f"{verb} {SHIPPED}", ([verb, str(run), *which],)) for verb in ("audit", "inspect", "eval")], out)
    figures = {
        "seconds": round(time.monotonic() - started, 1),
        "methods": {SHIPPED: files.read_json(run / RESULTS)},
        "necessity": {SHIPPED: files.read_json(run / AUDIT)["necessity"]},
        "test_rows": all_rows,
    }
    files.write_json(out / "results.json", figures)
    return write_report([run], out / "report.html")


def table(results: Mapping[str, Any]) -> str:
    """The figures of a demo as lines of text."""
    width = max(10, *map(len, results["methods"]))
    lines = [
        f"{'method':<{width}} {'accuracy':>8}  {'95% interval':<16} {'thoughts zeroed':>15} {'words':>6} {'passes':>7}"
    ]
    for name, figures in results["methods"].items():
        low, high = figures["interval"]
        zeroed = f"{figures['accuracy_without_thoughts']:.3f}" if figures["thoughts_per_answer"] else "has none"
        lines.append(
            f"{name:<{width}} {figures['accuracy']:>8.3f}  [{low:.3f}, {high:.3f}] {zeroed:>16} "
            f"{figures['tokens_per_answer']:>6.1f} {figures['passes_per_answer']:>7.1f}"
        )
    lines += [f"{name}: {necessity['sentence']}" for name, necessity in results["necessity"].items()]
    if "test_rows" in results:
        (n,) = {figures["n"] for figures in results["methods"].values()}
        lines.append(f"{n:,} of {results['test_rows']:,} test rows, {results['seconds']} s")
    return "\n".join(lines)


def _trainings(out: Path) -> list[Job]:
    """Train and evaluate every method."""
    return [
        Job(
            name,
            (["train", recipe, "--out", str(out / name)], ["eval", str(out / name), "--split", "test"]),
            out / name,
            _steps(recipe),
        )
        for name, recipe in METHODS.items()
    ]


def _studies(out: Path) -> list[Job]:
    """Audit the run that thinks beside all others, and the control; inspect the one that thinks."""
    others = [str(out / name) for name in METHODS if name != AUDITED]
    return [
        Job(f"audit {AUDITED}", (["audit", str(out / AUDITED), "--against", *others],)),
        Job(f"audit {CONTROL}", (["audit", str(out / CONTROL)],)),
        Job(f"inspect {AUDITED}", (["inspect", str(out / AUDITED)],)),
    ]


def _run_all(jobs: Sequence[Job], out: Path) -> None:
    """Do all jobs, as many at once as there are cores."""
    waiting = list(jobs)
    running: dict[Job, subprocess.Popen[bytes]] = {}
    columns = (TextColumn("{task.description:<16}"), BarColumn(), TextColumn("{task.fields[shown]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bars = {job: progress.add_task(job.name, total=job.num_steps, shown="waiting", start=False) for job in jobs}
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    job = waiting.pop(0)
                    running[job] = _start(job, out)
                    progress.start_task(bars[job])
                for job, process in list(running.items()):
                    _show(progress, bars[job], job)
                    if process.poll() is not None:
                        del running[job]
                        _finish(job, process, out)
                        progress.update(bars[job], total=job.num_steps or 1, completed=job.num_steps or 1, shown="done")
                time.sleep(0.2)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.wait()


def _start(job: Job, out: Path) -> subprocess.Popen[bytes]:
    """Begin the commands of a job in one process, quietly."""
    program = PROGRAM.format(list(map(list, job.commands)))
    with _log(job, out).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
        )


def _finish(job: Job, process: subprocess.Popen[bytes], out: Path) -> None:
    log = _log(job, out)
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise DemoError(f"{job.name} ended with exit code {process.returncode}; the end of {log}:\n{tail}")


def _log(job: Job, out: Path) -> Path:
    return out / f"{job.name.replace(' ', '-')}.log"


def _steps(recipe: str) -> int:
    from unspoken.plan import plan

    return plan(load_recipe(recipe)).total_steps or 1


def _show(progress: Progress, bar: TaskID, job: Job) -> None:
    if job.run is None:
        progress.update(bar, shown="running")
        return
    try:
        rows = files.read_json_lines(job.run / METRICS, torn=True)
    except DataError:
        progress.update(bar, shown="starting")
        return
    accuracies = [row["eval_accuracy"] for row in rows if "eval_accuracy" in row]
    shown = f"stage {rows[-1]['stage']}" + (f", accuracy {accuracies[-1]:.2f}" if accuracies else "")
    progress.update(bar, completed=rows[-1]["step"], shown=shown)
