"""Runs -> one page that needs nothing else: no network, no script, no other file."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

from unspoken import files
from unspoken.controls import control_named, in_order, taken_away
from unspoken.errors import CheckpointError
from unspoken.pretrained import run_to_write
from unspoken.report import seen, told
from unspoken.report.captioned import TRAINED, Story
from unspoken.report.captioned_figures import AGAINST, WRITTEN, conditions_of, measured, pictures_of_captions
from unspoken.report.drawn_figures import pictures_of_trajectories, ways_of
from unspoken.report.figures import pictures, pictures_of_audit, pictures_of_training
from unspoken.report.findings import QUESTIONS, find, percent, with_interval
from unspoken.report.inline import apart, as_html
from unspoken.report.inspected import Attention, Example
from unspoken.report.inspection_figures import pictures_of_contents
from unspoken.report.panel import fitted, mark_as_text
from unspoken.report.read import ReportedRun, read_runs
from unspoken.report.search_graph import frames
from unspoken.report.svg import SERIES, printable

MAX_LETTERS = 900
"""Letters of a question or an answer that are shown; all of them stand in predictions.jsonl."""
MAX_CAPTION = 400
"""Letters of the caption of a frame that are shown."""

KINDS = {"train": "Training", "validation": "Validation", "test": "Test"}

DIGITS = 16
"""Digits of a sha256 that are shown; all of them stand in resolved.json and results.json."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A row of the provenance.

    Attributes:
        name: What it is.
        values: For each run or group of runs beside each other with the same value: the value, and how many runs.
    """

    name: str
    values: Sequence[tuple[str, int]]


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write a report about one or several runs.

    Args:
        runs: Their directories.
        out: The HTML file.

    Returns:
        `out`.

    Raises:
        CheckpointError: A run or a file of it is missing or damaged, or `out` is a directory, or in a shipped model's.
    """
    if out.is_dir():
        raise CheckpointError(f"{out} is a directory; give the name of the file to write, e.g. {out / 'report.html'}")
    run_to_write(out.parent.resolve())
    files.write_text(out, page(read_runs(runs)))
    return out


def page(runs: Sequence[ReportedRun]) -> str:
    """The page as text: the same runs give the same text."""
    folder = package_files("unspoken.report")
    sources = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html.jinja", "page.css")}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "interval": with_interval,
        "percent": percent,
        "inline": as_html,
        "apart": apart,
        "shortened": lambda text: fitted(text, MAX_LETTERS),
        "brief": lambda text: fitted(text, MAX_CAPTION),
    }
    html = environment.get_template("page.html.jinja").render(
        title=_title(runs),
        findings=find(runs),
        runs=runs,
        marks=[mark_as_text(index) for index in range(len(runs))],
        colours=len(SERIES),
        digits=DIGITS,
        controls=in_order(name for run in runs if run.results for name in run.results.controls),
        control=control_named,
        taken_away=taken_away,
        pictures=pictures(runs),
        audited=[run for run in runs if run.audit],
        audit_pictures=pictures_of_audit(runs),
        captioned=[run for run in runs if run.results and run.results.captions],
        caption_pictures=pictures_of_captions(runs),
        caption_conditions=conditions_of,
        against=AGAINST,
        written=WRITTEN,
        measured=measured,
        told=told,
        shapes_of=shapes_of,
        trained=TRAINED,
        inspected=[run for run in runs if run.inspection],
        inspection_pictures=pictures_of_contents(runs),
        drawn=[run for run in runs if run.drawn],
        drawn_pictures=pictures_of_trajectories(runs),
        ways_of=ways_of,
        training=pictures_of_training(runs),
        warnings=[(run, line) for run in runs for line in run.lines if line.warning],
        frames=frames,
        has_pictures=any(run.pictures for run in runs) or any(example.images for example in _examples(runs)),
        most_frames=max((len(example.values or ()) for example in _examples(runs)), default=0),
        seen=seen,
        groups_of=groups_of,
        attention_rows=attention_rows,
        zip=zip,
        facts=facts(runs),
        commands=[commands(run) for run in runs],
    )
    return printable(html)


def commands(run: ReportedRun) -> list[str]:
    """How to do it again from the recipe on the page."""
    out = shlex.quote(run.path.resolve().name)
    done = [f"unspoken train recipe.yaml --out {out}"]
    if run.results:
        controls = in_order(run.results.controls)
        recorded = in_order(run.resolved.recipe.evaluate.controls)
        chosen = "" if controls in ([], recorded) else " " + shlex.quote(f"controls=[{','.join(controls)}]")
        done.append(f"unspoken eval {out} {_rows(run.results.data)}{chosen}")
    if run.drawn:
        draw, many = run.drawn.settings, run.drawn.most.num_trajectories
        chance = f"--temperature {draw.temperature:g} --token-temperature {draw.token_temperature:g}"
        spread = f" --spread {draw.spread:g}" if draw.spread else ""
        done.append(
            f"unspoken eval {out} --trajectories {many} {chance}{spread} --seed {draw.seed} {_rows(run.drawn.data)}"
        )
    return done


def _rows(data: str) -> str:
    """The option that names what was evaluated on."""
    return f"--split {data}" if data in QUESTIONS else f"--data {shlex.quote(PurePath(data).name)}"


def shapes_of(run: ReportedRun, story: Story) -> list[tuple[int, int]]:
    """Width and height of each image of a story that can be shown."""
    shown = [run.pictures[frame.image] for frame in story.frames if frame.image is not None]
    return [picture.shape for picture in shown if picture.thumbnail]


def groups_of(attention: Sequence[Attention]) -> list[str]:
    """What thoughts look at, in the order in which it is read."""
    facts_of_graphs = ["optimal", "frontier", "reachable", "unreachable"]
    known = ["start", "images", *facts_of_graphs, "all facts", "question", "markers", "other thoughts", "itself"]
    found = {group for each in attention for group, share in each.groups.items() if share > 0}
    return sorted(found, key=lambda group: (known.index(group) if group in known else len(known), group))


def attention_rows(attention: Sequence[Attention]) -> list[tuple[str, list[float | None]]]:
    """A row for each layer and thought."""
    groups = groups_of(attention)
    ordered = sorted(attention, key=lambda each: (each.layer, each.thought))
    return [(f"{each.layer}, {each.thought}", [each.groups.get(group) for group in groups]) for each in ordered]


def _examples(runs: Sequence[ReportedRun]) -> list[Example]:
    return [example for run in runs if run.inspection for example in run.inspection.examples]


def facts(runs: Sequence[ReportedRun]) -> list[Fact]:
    """What the numbers depend on, run beside run."""
    columns = [_facts(run) for run in runs]
    names = dict.fromkeys(name for column in columns for name in column)
    return [
        Fact(name, [(value, len([*same])) for value, same in groupby(column.get(name, "-") for column in columns)])
        for name in names
    ]


def _facts(run: ReportedRun) -> dict[str, str]:
    made, results, summary = run.resolved, run.results, run.summary
    recipe = made.recipe
    found = {
        "Task": recipe.task.name,
        "Method": recipe.method.name,
        "Thoughts": recipe.thoughts.name,
        "Seed": str(recipe.train.seed),
        "Trained": f"to stage {summary.stage}, {summary.last_step:,} steps" if summary else "not to the end",
    }
    for split, rows in made.rows.items():
        found[f"{KINDS.get(split, split)} rows"] = f"{rows.rows_kept:,} of {rows.rows_in:,}"
    for split, fingerprint in made.data.items():
        found[f"{KINDS.get(split, split)} data"] = fingerprint[:DIGITS]
    found["Tokenizer"] = made.tokenizer[:DIGITS]
    found |= _environment("Trained", made.environment)
    if results:
        found["Evaluated on"] = f"{results.data}, {results.figures.n:,} rows"
        found["Evaluation data"] = results.data_sha256[:DIGITS]
        same = results.environment == made.environment
        found |= (
            {"Evaluated with": "the same versions, on a machine of the same kind"}
            if same
            else _environment("Evaluated", results.environment)
        )
    if run.drawn:
        draw, most = run.drawn.settings, run.drawn.most
        found["Trajectories"] = (
            f"{most.num_trajectories} on {run.drawn.data}, {most.n:,} rows; temperature {draw.temperature:g} of "
            f"thoughts, {draw.token_temperature:g} of words; spread {draw.spread:g}; seed {draw.seed}"
        )
    return found


def _environment(when: str, values: Mapping[str, Any]) -> dict[str, str]:
    packages = values.get("packages")
    versions = [f"{name} {version}" for name, version in packages.items()] if isinstance(packages, Mapping) else []
    python = [f"python {values['python']}"] if "python" in values else []
    rest = [
        f"{name} {'none' if value is None else value}"
        for name, value in values.items()
        if name not in ("packages", "python")
    ]
    return {f"{when} with": ", ".join(python + versions), f"{when} on a machine": ", ".join(rest)}


def _title(runs: Sequence[ReportedRun]) -> str:
    tasks = dict.fromkeys(run.resolved.recipe.task.name for run in runs)
    return f"{', '.join(map(apart, tasks))}: {', '.join(apart(run.label) for run in runs)}"
