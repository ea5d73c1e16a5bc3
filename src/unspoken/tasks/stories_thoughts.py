"""The chain of thought of a story of StoryReasoning, and what of it becomes steps.

    ## Image 1
    ### Characters
    | Character ID | Name | Description | Emotions | Actions | Narrative Function | Bounding Box |
    |--------------|------|-------------|----------|---------|--------------------|--------------|
    | char1 | Ann | a woman | calm | knocks at the door | protagonist | 3,4,50,60 |
    ...
    ## Narrative Structure
    | Narrative Phase | Description | Key Events | Images |
    |-----------------|-------------|------------|--------|
    | Introduction | Ann comes home | She knocks | 1, 2-3 |

    1: Ann knocks at the door          what it says of a frame
    Introduction: Ann comes home       what it says of the phase to which the next frame belongs

It was written by somebody who had seen all frames. The steps of frames are about those that are shown; the step of the
plan is about the next one, too, which the model has to guess, as it does with the caption.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Literal, TypeAlias

from unspoken.tasks.stories_captions import without_tags

Reasoning: TypeAlias = Literal["frames and plan", "frames", "plan", "none"]

_SECTION = re.compile(r"^##[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_TABLE = re.compile(r"^###[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_IMAGE = re.compile(r"Image\s*(\d{1,4})", re.IGNORECASE)
_RANGE = re.compile(r"(\d{1,4})(?:\s*(?:-|\u2013|to)\s*(?:image\s*)?(\d{1,4}))?", re.IGNORECASE)
_RULE = re.compile(r":?-+:?")


def steps_of(thought: str, frames: Sequence[int], target: int, reasoning: Reasoning) -> tuple[str, ...]:
    """The steps that a chain of thought gives; what it does not say is left out.

    Args:
        thought: The chain of thought.
        frames: Places of the frames that are shown.
        target: Place of the frame whose caption is asked for.
        reasoning: What becomes steps.
    """
    sections = _parts(thought, _SECTION)
    steps: list[str] = []
    if reasoning in ("frames and plan", "frames"):
        about = {int(match[1]): text for title, text in sections.items() if (match := _IMAGE.fullmatch(title))}
        steps += [f"{place}: {said}" for place in frames if (said := _of_frame(about.get(place, "")))]
    if reasoning in ("frames and plan", "plan"):
        for phase in _rows(sections.get("Narrative Structure", "")):
            if target in _places(phase.get("Images", "")) and phase.get("Description"):
                steps.append(f"{phase.get('Narrative Phase') or 'Plan'}: {phase['Description']}")
    return tuple(steps)


def _of_frame(text: str) -> str:
    """Who does what; where nobody does anything, what the setting is."""
    tables = _parts(text, _TABLE)
    people = [
        " ".join(filter(None, (row.get("Name"), row.get("Actions")))) for row in _rows(tables.get("Characters", ""))
    ]
    setting = [row.get("Description", "") for row in _rows(tables.get("Setting", ""))]
    return "; ".join(filter(None, people)) or "; ".join(filter(None, setting))


def _parts(text: str, title: re.Pattern[str]) -> Mapping[str, str]:
    """What stands below each title; below the first one where a title comes again."""
    found: dict[str, str] = {}
    titles = list(title.finditer(text))
    for match, following in zip_longest(titles, titles[1:]):
        found.setdefault(match[1], text[match.end() : following.start() if following else len(text)])
    return found


def _rows(table: str) -> Sequence[Mapping[str, str]]:
    """The rows of a table by their columns; a row with another number of cells is left out."""
    lines = [[without_tags(cell) for cell in line.strip().strip("|").split("|")] for line in table.splitlines()]
    lines = [cells for cells in lines if any(cells) and not all(_RULE.fullmatch(cell) for cell in cells)]
    if not lines:
        return ()
    columns, *rows = lines
    return [dict(zip(columns, cells, strict=True)) for cells in rows if len(cells) == len(columns)]


def _places(text: str) -> frozenset[int]:
    """The places in a cell such as `1, 3-5` or `image1, image2`."""
    found: set[int] = set()
    for match in _RANGE.finditer(text):
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return frozenset(found)
