"""The words of toy stories: captions in several wordings, and what a caption says, whatever its wording.

The red circle goes to the blue house and takes the small green star.
The small green star is taken from the blue house by the red circle.       the same facts
"""

import re
from collections.abc import Mapping
from random import Random

from unspoken.tasks.chance import choose
from unspoken.tasks.shapes_scene import COLOURS, Scene
from unspoken.tasks.stories_text import MOST_FRAMES, NEXT
from unspoken.tasks.toy_stories_plot import FORMS, HOUSE_ROW, Facts, Story, name_of

WISHES = (
    "The {who} wants the {what}.",
    "The {what} is what the {who} dreams of.",
    "How happy would the {who} be with the {what}!",
    "The {who} thinks of nothing but the {what}.",
)
OTHER_WISHES = (
    "The {who} has changed its mind and now wants the {what}.",
    "Now it is the {what} that the {who} dreams of.",
    "From today on the {who} thinks of nothing but the {what}.",
)
IDLE = (
    "The wind blows the things about.",
    "Another day goes by.",
    "Everybody is out and the sun is shining.",
)
EVENINGS = (
    "In the evening the things are hidden, and only one stays.",
    "It gets dark. The things are put away and all but one go home.",
    "Night falls, nothing lies about any more and one of them is left.",
)
ENDINGS = (
    "The {who} goes to the {where} and takes the {what}.",
    "The {what} is taken from the {where} by the {who}.",
    "At the {where} the {who} finds the {what}.",
    "So the {who} gets the {what} at the {where}.",
)
STEPS = (
    "the {who} stays",
    "the {who} wants the {what}",
    "the {what} was last seen in picture {frame}",
    "the {what} was at the {where}",
)

FRAME = "What is in picture {place}?"
"""Asks what stands in one of the frames."""
NOTHING = "nothing"

_WORD = re.compile(r"\w+|[^\w\s]+")
_NAMES: Mapping[str, re.Pattern[str]] = {
    "what": re.compile(rf"\bsmall (?:{'|'.join(COLOURS)}) (?:{'|'.join(FORMS)})\b"),
    "who": re.compile(rf"(?<!\bsmall )\b(?:{'|'.join(COLOURS)}) (?:{'|'.join(FORMS)})\b"),
    "where": re.compile(rf"\b(?:{'|'.join(COLOURS)}) house\b"),
}


def _words() -> tuple[str, ...]:
    templates = (*WISHES, *OTHER_WISHES, *IDLE, *EVENINGS, *ENDINGS, *STEPS)
    fixed = [
        word
        for template in (*templates, FRAME, NOTHING, ",")
        for word in _WORD.findall(re.sub(r"\{\w+\}", "", template))
    ]
    frames = map(str, range(1, MOST_FRAMES + 1))
    return tuple(
        dict.fromkeys(("\n", "###", *_WORD.findall(NEXT), *frames, "small", "house", *COLOURS, *FORMS, *fixed))
    )


WORDS = _words()
"""Every word that a row can hold, whatever the settings."""


def captions_of(story: Story, rng: Random) -> tuple[str, ...]:
    """The captions of all frames, that of what happens next included.

    Args:
        story: The plot.
        rng: Chooses the wordings.
    """
    told = []
    has_wished: set[int] = set()
    for wish in story.told:
        if wish is None:
            told.append(choose(IDLE, rng))
            continue
        wording = choose(OTHER_WISHES if wish.character in has_wished else WISHES, rng)
        has_wished.add(wish.character)
        who, what = name_of(story.characters[wish.character]), name_of(story.things[wish.thing])
        told.append(wording.format(who=who, what=what))
    return (*told, choose(EVENINGS, rng), choose(ENDINGS, rng).format(**story.facts._asdict()))


def steps_of(story: Story) -> tuple[str, ...]:
    """The way to what happens next: who stays, what it wants, when that was seen last, and where that was."""
    return tuple(step.format(**story.facts._asdict(), frame=story.last_day) for step in STEPS)


def inventory(scene: Scene) -> str:
    """What stands in each place of a frame, row by row: houses above, characters below them, things below these."""
    names = {thing.cell: name_of(thing.kind) for thing in scene.things}
    names |= {cell: f"{thing.kind.colour} house" for thing in scene.things if (cell := thing.cell)[0] == HOUSE_ROW}
    cells = [(row, column) for row in range(scene.grid) for column in range(scene.grid)]
    return ", ".join(names.get(cell, NOTHING) for cell in cells)


def facts_in(text: str) -> Facts | None:
    """Who takes what where, according to a text; None when one of them is not named, or two different ones are."""
    named = facts_named(text)
    return Facts(**named) if len(named) == len(_NAMES) else None


def facts_named(text: str) -> dict[str, str]:
    """Those of who, what and where of which a text names one and no other."""
    words = " ".join(text.lower().split())
    named = {key: set(_NAMES[key].findall(words)) for key in Facts._fields}
    return {key: names.pop() for key, names in named.items() if len(names) == 1}
