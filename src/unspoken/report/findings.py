"""Figures -> sentences, never stronger than the intervals allow. Pure functions.

Two accuracies differ only where their 95% intervals do not touch. This asks for more than a paired test over the same
rows would, so what is said here holds there too; what is not said here may still be found by `unspoken audit`.
"""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, Protocol, TypeAlias

from unspoken.controls import CONTROLS, control_named, in_order
from unspoken.report.captioned import COPIED, FLOOR, TRAINED, Captioned, Measure
from unspoken.report.drawn import Drawn, Figures
from unspoken.report.inline import apart
from unspoken.report.read import ReportedRun
from unspoken.report.recorded import Results
from unspoken.run_directory import RECIPE

Effect: TypeAlias = Literal["less", "not shown", "more"]
"""How an accuracy compares with another one."""

ASK = "whether they are needed: `unspoken audit RUN`"
"""What a control of thoughts cannot tell: docs/decisions/0012-needed-means-every-replacement.md."""


class Measured(Protocol):
    """A share of right answers with its 95% interval."""

    @property
    def accuracy(self) -> float:
        """It."""
        ...

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end."""
        ...


LENIENCE = 1.1
"""By which the passes of runs may differ that are compared: answers of 5.98 and of 6 tokens cost about the same."""

QUESTIONS = {"test": "held-out question", "validation": "validation question", "train": "training question"}


@dataclass(frozen=True, slots=True)
class Findings:
    """What a report says at its top.

    Attributes:
        headline: The sentence to remember.
        details: What else was found, a sentence or two for each run.
        notes: How to read it, and its limits.
    """

    headline: str
    details: tuple[str, ...]
    notes: tuple[str, ...]


def percent(share: float) -> str:
    """A share as a percentage; only all of it is 100.0%, and only none of it 0.0%."""
    return f"{_number(share)}%"


def with_interval(figures: Measured) -> str:
    """Accuracy and its 95% interval: `98.9% [98.0, 99.4]`."""
    low, high = figures.interval
    return f"{percent(figures.accuracy)} [{_number(low)}, {_number(high)}]"


def effect(trained: Measured, other: Measured) -> Effect:
    """Whether another accuracy is less or more than that as trained; only where their intervals do not touch."""
    if other.interval[1] < trained.interval[0]:
        return "less"
    return "more" if other.interval[0] > trained.interval[1] else "not shown"


def finding(name: str, results: Results) -> str:
    """What one run shows, as a clause without its questions: `coconut answers ...`.

    Of several controls of its thoughts the mildest is told: a model may break on any that it has never seen.
    """
    text = f"{name} answers {with_interval(results.figures)} correctly"
    if not results.figures.thoughts_per_answer:
        return f"{text}; it has no thoughts to take away."
    mildest, among = _mildest(results), len(_of_thoughts(results))
    if mildest is None:
        return f"{text}; it was not measured without its thoughts."
    chosen = f", the mildest of {among} controls," if among > 1 else ""
    left = f"{_phrase(mildest)}{chosen} {with_interval(results.controls[mildest])}"
    return f"{text}; {left}{_beside_trained(results, [mildest])}; {ASK}."


def about(run: ReportedRun) -> list[str]:
    """What one evaluated run shows, a sentence each; an audit, which compares row by row, goes before the controls."""
    assert run.results, "only evaluated runs are told of"
    if run.audit is None:
        told = [finding(_name(run), run.results), *control_findings(run.results)]
    else:
        told = [f"{_name(run)} answers {with_interval(run.results.figures)} correctly.", *run.audit.questions]
    if not run.results.captions:
        return told
    captions = caption_findings(_name(run), run.results.captions, run.results.figures.n)
    # captions are compared word by word where a task reads nothing from them, and then none is right
    if any(each.num_right for each in (run.results.figures, *run.results.controls.values())):
        return [*told, *captions]
    return [*captions, *_under_controls(run.results.captions), "No caption is its reference word by word."]


def caption_findings(name: str, captions: Captioned, n: int) -> list[str]:
    """What captions are worth beside those that no model wrote, and how many of them are whole; empty if unmeasured."""
    trained = captions.conditions[TRAINED]
    if "cider_d" not in trained:
        return []
    clauses = []
    for other, called in ((COPIED, "the last caption copied"), (FLOOR, "the caption of another row")):
        measures = captions.conditions.get(other, {})
        if "cider_d" in measures:
            clauses.append(
                f"{_beside(trained['cider_d'], measures['cider_d'])} {called}, {_plain(measures['cider_d'])}"
            )
    text = f"{name} writes captions with a CIDEr-D of {_plain(trained['cider_d'])}"
    sentences = [f"{text}: {'; '.join(clauses)}." if clauses else f"{text}."]
    if "finished" in trained:
        low, high = trained["finished"].interval
        share = f"{percent(trained['finished'].value)} [{_number(low)}, {_number(high)}]"
        sentences.append(f"{share} of its {n:,} captions are whole sentences that it ended itself.")
    return sentences


def _under_controls(captions: Captioned) -> list[str]:
    """What captions are worth under each control that was measured, in one sentence."""
    trained, others = captions.conditions[TRAINED], captions.conditions
    if "cider_d" not in trained:
        return []
    told = [
        f"{_phrase(name)} {_plain(others[name]['cider_d'])}, "
        f"{_beside(others[name]['cider_d'], trained['cider_d'])} that as trained"
        for name in in_order(others.keys() & CONTROLS.keys())
        if "cider_d" in others[name]
    ]
    return [f"Its CIDEr-D: {'; '.join(told)}."] if told else []


def _beside(one: Measure, other: Measure) -> str:
    if one.interval[0] > other.interval[1]:
        return "better than"
    return "worse than" if one.interval[1] < other.interval[0] else "not told apart from"


def _plain(measure: Measure) -> str:
    low, high = measure.interval
    return f"{measure.value:.2f} [{low:.2f}, {high:.2f}]"


def control_findings(results: Results) -> list[str]:
    """What the controls show that `finding` does not tell: a sentence for each effect."""
    groups: dict[Effect, list[str]] = {}
    for name in in_order(results.controls.keys() - {_mildest(results)}):
        groups.setdefault(effect(results.figures, results.controls[name]), []).append(name)
    sentences = []
    for names in groups.values():
        left = ", ".join(f"{_phrase(name)} {with_interval(results.controls[name])}" for name in names)
        sentences.append(f"{left[0].upper()}{left[1:]}{_beside_trained(results, names)}.")
    return sentences


def comparison(figures: Mapping[str, Measured]) -> str:
    """Which of several runs on the same questions is ahead, as far as the intervals tell."""
    highest = max(value.accuracy for value in figures.values())
    best = [name for name, value in figures.items() if value.accuracy == highest]
    top = figures[best[0]]
    level = [name for name, value in figures.items() if name not in best and value.interval[1] >= top.interval[0]]
    below = [name for name in figures if name not in best and name not in level]
    if not level and not below:
        return f"{_list(best)} have the same accuracy, {with_interval(top)}."
    have, its = ("has", "its") if len(best) == 1 else ("have", "their")
    text = f"{_list(best)} {have} the highest accuracy, {with_interval(top)}"
    if level:
        intervals = "interval of" if len(level) == 1 else "intervals of"
        overlap = "overlaps" if len(level) == 1 else "overlap"
        text += f"; the {intervals} {_list(level)} {overlap} with {its} own, so these rows do not show which is better"
    if below:
        text += f"; {_list(below)} {'lies' if len(below) == 1 else 'lie'} below"
    return f"{text}."


def worth_of_many(name: str, drawn: Drawn) -> str:
    """What a vote of trajectories adds to one of them, and what choosing well could."""
    most = drawn.most
    one, vote = with_interval(most.single), with_interval(most.vote)
    asked = f"On {_questions(most.n, drawn.data)}"
    if most.num_trajectories == 1:
        return f"{asked} one trajectory of {name}, drawn by chance, is right on {one}."
    points = math.floor(1000 * (most.vote.interval[0] - most.single.interval[1])) / 10
    meaning = {
        "less": "a vote does worse than one",
        "not shown": "the intervals overlap, so these rows do not show that a vote helps",
        "more": f"a vote helps{f' by at least {points} points' if points > 0 else ''}",
    }[effect(most.single, most.vote)]
    return (
        f"{asked} a vote of {most.num_trajectories} trajectories of {name} is right on {vote}, one of them on {one}: "
        f"{meaning}. At least one of them is right on {with_interval(most.oracle)}."
    )


def at_equal_compute(drawn: Mapping[str, Drawn]) -> str | None:
    """Which of several runs on the same questions votes best with the passes that the least of them was given.

    Returns:
        A sentence; None where a single trajectory of one takes more passes than all that were drawn of another.
    """
    passes = min(each.most.passes_per_question for each in drawn.values())
    chosen: dict[str, Figures] = {}
    for name, each in drawn.items():
        affordable = [figures for figures in each.figures if figures.passes_per_question <= LENIENCE * passes]
        if not affordable:
            return None
        chosen[name] = affordable[-1]
    votes = _list(
        [f"{each.num_trajectories} of {name} ({each.passes_per_question:.1f} passes)" for name, each in chosen.items()]
    )
    ranking = comparison({name: each.vote for name, each in chosen.items()})
    allowed = f"{passes:.1f} passes for a question, or little more, allow"
    return f"Votes of as many trajectories as {allowed}, {votes}: {ranking}"


def find(runs: Sequence[ReportedRun]) -> Findings:
    """What the runs of a report show."""
    told = [run for run in runs if run.results]
    measured = [(_name(run), run.results) for run in runs if run.results]
    details = [_unmeasured(run) for run in runs if not run.results]
    same = len({(results.data_sha256, results.figures.n) for _, results in measured}) == 1
    if not measured:
        headline, *details = details
    elif len(measured) == 1:
        sentences = about(told[0])
        first = 2 if told[0].audit else 1
        headline = f"{_on(measured[0][1])} {' '.join(sentences[:first])}"
        details = [*sentences[first:], *details]
    else:
        headline = "These runs answered different questions, so their accuracies do not compare."
        if same:
            headline = f"{_on(measured[0][1])} {comparison({name: results.figures for name, results in measured})}"
        for_each = []
        for run, (_, results) in zip(told, measured, strict=True):
            # of an audited run the first answer; the section on its audit has the others
            sentences = about(run)[: 2 if run.audit else None]
            for_each.append(" ".join(["" if same else _on(results), *sentences]).lstrip())
        details = for_each + details
    details = [*details, *find_of_many(runs)]
    return Findings(headline, tuple(details), _notes(runs, [results for _, results in measured]))


def find_of_many(runs: Sequence[ReportedRun]) -> list[str]:
    """What trajectories of the runs show, a sentence for each and one for all."""
    drawn = {_name(run): run.drawn for run in runs if run.drawn}
    sentences = [worth_of_many(name, each) for name, each in drawn.items()]
    compared = at_equal_compute(drawn) if are_comparable([*drawn.values()]) else None
    return [*sentences, compared] if compared else sentences


def are_comparable(drawn: Sequence[Drawn]) -> bool:
    """Whether they are several draws for the same questions."""
    return len(drawn) > 1 and len({(each.data_sha256, each.most.n) for each in drawn}) == 1


def _of_thoughts(results: Results) -> list[str]:
    return [name for name in in_order(results.controls) if not control_named(name).is_of_images]


def _mildest(results: Results) -> str | None:
    return max(_of_thoughts(results), key=lambda name: results.controls[name].accuracy, default=None)


def _phrase(name: str) -> str:
    phrase = control_named(name).phrase
    return phrase if name in CONTROLS else apart(phrase)


def _beside_trained(results: Results, names: Sequence[str]) -> str:
    """How far the accuracies under controls of one effect lie from that as trained, by the near ends of intervals."""
    trained, others = results.figures, [results.controls[name] for name in names]
    kind = effect(trained, others[0])
    if kind == "not shown":
        return "; the intervals overlap, so these rows show no difference"
    gaps = [max(trained.interval[0] - each.interval[1], each.interval[0] - trained.interval[1]) for each in others]
    points = math.floor(1000 * min(gaps)) / 10
    return f", at least {points} points {kind}" if points > 0 else f", {kind}"


def _name(run: ReportedRun) -> str:
    return apart(run.label if run.method in run.label else f"{run.label} ({run.method})")


def _on(results: Results) -> str:
    return f"On {_questions(results.figures.n, results.data)}"


def _questions(n: int, data: str) -> str:
    noun = QUESTIONS.get(data, "question")
    source = "" if data in QUESTIONS else f" of {apart(PurePath(data).name)}"
    return f"{n:,} {noun}{'' if n == 1 else 's'}{source}"


def _unmeasured(run: ReportedRun) -> str:
    if run.summary is None:
        done = f"{max(line.step for line in run.lines):,} steps were logged" if run.lines else "nothing was logged yet"
        return (
            f"{_name(run)} is not trained to its end ({done}); `unspoken train {_quoted(run.path / RECIPE)} "
            f"--out {_quoted(run.path)} --resume` continues it."
        )
    return (
        f"{_name(run)} is trained, to stage {run.summary.stage} in {run.summary.last_step:,} steps, but not evaluated; "
        f"`unspoken eval {_quoted(run.path)}` gives the rest."
    )


def _quoted(path: Path) -> str:
    """A path in a command."""
    return apart(shlex.quote(str(path)))


def _notes(runs: Sequence[ReportedRun], measured: Sequence[Results]) -> tuple[str, ...]:
    notes = []
    if measured:
        notes.append("Brackets hold 95% Wilson intervals; a difference is named only where two of them do not touch.")
    if any(results.captions for results in measured):
        notes.append("Intervals of CIDEr-D are the middle 95% of resampled rows.")
    drawn = [run.drawn for run in runs if run.drawn]
    if drawn:
        notes.append("Intervals of trajectories are over questions, by the bootstrap where one counts in part.")
    if "validation" in [*(results.data for results in measured), *(each.data for each in drawn)]:
        notes.append(
            "Validation questions may have chosen the checkpoint or the settings, which flatters; "
            "`unspoken eval RUN --split test` measures on questions that chose nothing."
        )
    pairs = [
        (run.results.figures, figures)
        for run in runs
        if run.results and not run.audit
        for figures in run.results.controls.values()
    ]
    if any(effect(trained, without) == "not shown" for trained, without in pairs):
        notes.append("`unspoken audit RUN` compares row by row and sees smaller differences than intervals can.")
    return tuple(notes)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(share: float) -> str:
    if share in (0, 1):
        return f"{100 * share:.1f}"
    decimals = next((n for n in range(1, 9) if f"{100 * share:.{n}f}" not in (f"{100:.{n}f}", f"{0:.{n}f}")), 9)
    return f"{100 * share:.{decimals}f}"
