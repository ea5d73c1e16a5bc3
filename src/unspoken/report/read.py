"""A run directory -> what a report says about it. The only file of the report that reads the disk."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from unspoken import files
from unspoken.errors import CheckpointError, DataError
from unspoken.evaluation.captions.evaluated import caption
from unspoken.records import Prediction, Verdict
from unspoken.report.audited import Audit
from unspoken.report.captioned import MOST_STORIES, TRAINED, Frame, Story, Version
from unspoken.report.drawn import Drawn
from unspoken.report.inspected import Inspection
from unspoken.report.recorded import Line, Resolved, Results, Summary
from unspoken.run_directory import (
    AUDIT,
    INSPECTION,
    METRICS,
    PREDICTIONS,
    RECIPE,
    RESOLVED,
    RESULTS,
    RUN,
    TRAJECTORIES,
)
from unspoken.tasks import TASKS, Task
from unspoken.tasks.stories_text import captions_told
from unspoken.vision.image_files import locate
from unspoken.vision.images import inspect_image, open_image
from unspoken.vision.thumbnail import photograph, thumbnail

_prediction = TypeAdapter(Prediction).validate_python

Read = TypeVar("Read")
Studied = TypeVar("Studied", Audit, Inspection, Drawn)

FRAME_SIDE = 256
"""Pixels on the longer side of a small copy where frames of stories are shown."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of an answer.

    Attributes:
        thumbnail: A small copy; None where its file cannot be used.
        problem: Why not.
        shape: Width and height of the file in pixels.
    """

    thumbnail: str | None
    problem: str = ""
    shape: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """A run, read for a report.

    Attributes:
        path: Its directory, as it was given.
        label: The shortest name that tells it from the other runs of the report.
        recipe: The text of its recipe.
        resolved: What it is made of.
        lines: Its log, in order of steps; of a repeated validation, the last.
        summary: The trained model; None while training is not finished.
        results: Its evaluation; None before it.
        audit: Its audit; None before it.
        inspection: What its thoughts hold; None before it was looked at.
        drawn: What several trajectories of a question are worth; None before they were drawn.
        answers: Of each verdict the first prediction: right, wrong, no answer.
        stories: Where answers are captions the first rows, under every condition.
        pictures: Of the images of both, by the path.
    """

    path: Path
    label: str
    recipe: str
    resolved: Resolved
    lines: Sequence[Line]
    summary: Summary | None
    results: Results | None
    audit: Audit | None
    inspection: Inspection | None
    drawn: Drawn | None
    answers: Sequence[Prediction]
    stories: Sequence[Story]
    pictures: Mapping[str, Picture]

    @property
    def method(self) -> str:
        """The name of its method."""
        return self.resolved.recipe.method.name

    @property
    def earns(self) -> bool:
        """Whether it learns from rewards: its loss is not something that ought to fall."""
        return any(line.reward is not None for line in self.lines)


def read_runs(paths: Sequence[Path]) -> list[ReportedRun]:
    """Read the runs of a report, each once.

    Raises:
        CheckpointError: There is none, one is no run, or a file of one is missing or damaged.
    """
    unique = list({path.resolve(): path for path in paths}.values())
    if not unique:
        raise CheckpointError("a report needs at least one run; give the directory of a run")
    return [_read_run(path, label) for path, label in zip(unique, labels(unique), strict=True)]


def labels(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, and as many parts before it as tell them all apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _read_run(path: Path, label: str) -> ReportedRun:
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a directory; give the directory of a run")
    if not (path / RESOLVED).is_file():
        raise CheckpointError(f"{path} has no {RESOLVED}, so it is no run; give one that `unspoken train` wrote")
    restore = "copy it again from where the run was trained, or leave this run out"
    evaluate = "run `unspoken eval` on it again"
    resolved = _read(path / RESOLVED, TypeAdapter(Resolved).validate_python, restore)
    if resolved.recipe.method.name == "contrastive":
        raise CheckpointError(
            f"{path} holds encoders of images and texts, which answer nothing that a report shows; "
            "`unspoken eval` prints what they retrieve; leave this run out"
        )
    summary = results = None
    if (path / RUN).is_file():
        finish = "finish the run with `unspoken train --resume`"
        summary = _read(path / RUN, TypeAdapter(Summary).validate_python, finish)
    if (path / RESULTS).is_file():
        results = _read(path / RESULTS, _results, evaluate)
    answers = _answers(path / PREDICTIONS, evaluate) if results else ()
    stories = _stories(path, results, task_of(resolved), evaluate) if results and results.captions else ()
    shown = [*answers, *(story.trained for story in stories)]
    images = [image for row in shown for image in row.images or ()]
    images += [story.next_image for story in stories if story.next_image is not None]
    return ReportedRun(
        path=path,
        label=label,
        recipe=_text(path / RECIPE, restore),
        resolved=resolved,
        # a run that was stopped before its first line has no log yet
        lines=_lines(path / METRICS, restore) if summary or (path / METRICS).is_file() else (),
        summary=summary,
        results=results,
        audit=_of_this_model(path / AUDIT, TypeAdapter(Audit), summary, "run `unspoken audit` on it again"),
        inspection=_of_this_model(
            path / INSPECTION, TypeAdapter(Inspection), summary, "run `unspoken inspect` on it again"
        ),
        drawn=_of_this_model(
            path / TRAJECTORIES, TypeAdapter(Drawn), summary, "run `unspoken eval --trajectories` on it again"
        ),
        answers=answers,
        stories=stories,
        pictures={image: _picture(image, are_frames=bool(stories)) for image in dict.fromkeys(images)},
    )


def _of_this_model(file: Path, kind: TypeAdapter[Studied], summary: Summary | None, advice: str) -> Studied | None:
    """A study of the model, if there is one; it must be of the weights that the run holds now."""
    if not file.is_file():
        return None
    found = _read(file, kind.validate_python, advice)
    if summary is None or summary.sha256.get("model.safetensors") != found.model_sha256:
        raise CheckpointError(f"{file} is about other weights than those of the run; {advice}")
    return found


def _text(file: Path, advice: str) -> str:
    try:
        return files.read_text(file, limit=2**20)
    except DataError as error:
        raise CheckpointError(f"{error} ({advice})") from error


def _read(file: Path, parse: Callable[[Any], Read], advice: str) -> Read:
    try:
        return parse(files.read_json(file))
    except (DataError, ValidationError, ValueError) as error:
        raise CheckpointError(f"{file} is damaged: {_reason(error)}; {advice}") from error


def _read_lines(file: Path, parse: Callable[[Any], Read], advice: str, *, torn: bool = False) -> list[Read]:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; {advice}")
    try:
        rows = files.read_json_lines(file, torn=torn)
    except DataError as error:
        raise CheckpointError(f"{file} is damaged: {error}; {advice}") from error
    parsed = []
    for number, row in enumerate(rows, 1):
        try:
            parsed.append(parse(row))
        except (ValidationError, ValueError) as error:
            raise CheckpointError(f"{file} is damaged in line {number}: {_reason(error)}; {advice}") from error
    return parsed


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the whole"
    return f"{place}: {first['msg'].lower()}"


def _results(values: Any) -> Results:
    if not isinstance(values, Mapping):
        raise ValueError("it holds no object")
    results = TypeAdapter(Results).validate_python({**values, "figures": values})
    for name, figures in [("as trained", results.figures), *results.controls.items()]:
        shares = [(figures.accuracy, figures.interval)]
        for share, interval in (
            (figures.choice_accuracy, figures.choice_interval),
            (figures.soft_accuracy, figures.soft_interval),
        ):
            shares += [] if share is None or interval is None else [(share, interval)]
        for accuracy, (low, high) in shares:
            if not 0 <= low <= accuracy <= high <= 1 or figures.n < 1:
                raise ValueError(f"accuracy {accuracy} of condition {name!r} does not lie in [{low}, {high}]")
        means = (figures.tokens_per_answer, figures.thoughts_per_answer, figures.passes_per_answer)
        if not all(math.isfinite(mean) and mean >= 0 for mean in means):
            raise ValueError(f"a mean of condition {name!r} is negative or not finite")
    return results


def _lines(file: Path, advice: str) -> tuple[Line, ...]:
    lines = _read_lines(file, TypeAdapter(Line).validate_python, advice, torn=True)
    once = {(line.step, line.loss is None, line.eval_accuracy is None, line.warning): line for line in lines}
    return tuple(sorted(once.values(), key=lambda line: line.step))


def _answers(file: Path, advice: str) -> tuple[Prediction, ...]:
    predictions = _read_lines(file, _prediction, advice)
    order: tuple[Verdict, ...] = ("right", "wrong", "no answer")
    firsts = {verdict: next((row for row in predictions if row.verdict == verdict), None) for verdict in order}
    return tuple(row for row in firsts.values() if row)


def task_of(resolved: Resolved) -> Task | None:
    """The task of a run; None where this version has none of that name and settings."""
    settings = resolved.recipe.task.model_dump()
    try:
        return TASKS[settings["name"]].model_validate(settings)
    except (KeyError, ValidationError):
        return None


def _stories(path: Path, results: Results, task: Task | None, advice: str) -> tuple[Story, ...]:
    """The first rows, and what was written for them under every condition.

    Raises:
        CheckpointError: A file of predictions is missing, damaged or of other rows.
    """
    files_of = {TRAINED: path / PREDICTIONS}
    # the name of a condition is part of a path
    files_of |= {name: path / f"predictions.{name}.jsonl" for name in results.controls if re.fullmatch(r"\w+", name)}
    written = {name: _read_lines(file, _prediction, advice)[:MOST_STORIES] for name, file in files_of.items()}
    trained = written[TRAINED]
    for name, rows in written.items():
        if [row.id for row in rows] != [row.id for row in trained]:
            raise CheckpointError(f"{files_of[name]} is about other rows than {files_of[TRAINED]}; {advice}")
    return tuple(
        Story(
            frames=_frames(row),
            next_image=row.next_image,
            expected=row.expected,
            facts=task.facts(row.expected) if task else {},
            versions=[_version(name, rows[place], task) for name, rows in written.items()],
        )
        for place, row in enumerate(trained)
    )


def _version(condition: str, row: Prediction, task: Task | None) -> Version:
    if task is None:
        return Version(condition, row, row.text.strip(), {})
    text = caption(task, row)
    return Version(condition, row, text, task.facts(text))


def _frames(row: Prediction) -> tuple[Frame, ...]:
    told, images = captions_told(row.question) or (), row.images or ()
    return tuple(Frame(image, said or "") for image, said in zip_longest(images, told))


def _picture(image: str, *, are_frames: bool) -> Picture:
    """A small copy of an image; the files of a run that came from elsewhere may lie elsewhere, too."""
    try:
        facts = inspect_image(locate(image, None))
        picture = open_image(facts.path, facts)
        small = photograph(picture, FRAME_SIDE) if are_frames else thumbnail(picture)
        return Picture(small, shape=picture.size)
    except DataError as error:
        return Picture(None, str(error))
