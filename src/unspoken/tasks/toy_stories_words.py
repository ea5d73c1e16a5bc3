"""The words of toy stories: captions in several wordings, and what a caption says, whatever its wording.

The red circle goes to the blue house and takes the small green star.
The small green star is taken from the blue house by the red circle.       the same facts
"""

import re
from collections.abc import Mapping
from random import Random

from unspoken.tasks.chance import choose
from unspoken.tasks.shapes_scene import COLOURS
from unspoken.tasks.stories_text import MOST_FRAMES, NEXT
from unspoken.tasks.toy_stories_plot import FORMS, Facts, Story, name_of

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
STEPS = ("the {who} stays", "the {who} wants the {what}", "the {what} was last seen at the {where}")

_WORD = re.compile(r"\w+|[^\w\s]+")
_NAMES: Mapping[str, re.Pattern[str]] = {
    "what": re.compile(rf"\bsmall (?:{'|'.join(COLOURS)}) (?:{'|'.join(FORMS)})\b"),
    "who": re.compile(rf"(?<!\bsmall )\b(?:{'|'.join(COLOURS)}) (?:{'|'.join(FORMS)})\b"),
    "where": re.compile(rf"\b(?:{'|'.join(COLOURS)}) house\b"),
}


def _words() -> tuple[str, ...]:
    templates = (*WISHES, *OTHER_WISHES, *IDLE, *EVENINGS, *ENDINGS, *STEPS)
    fixed = [word for template in templates for word in _WORD.findall(re.sub(r"\{\w+\}", "", template))]
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
    """The way to what happens next: who stays, what it wants, where that was seen last."""
    return tuple(step.format(**story.facts._asdict()) for step in STEPS)


def facts_in(text: str) -> Facts | None:
    """Who takes what where, according to a text; None when one of them is not named, or two different ones are."""
    words = " ".join(text.lower().split())
    named = {key: set(pattern.findall(words)) for key, pattern in _NAMES.items()}
    if any(len(names) != 1 for names in named.values()):
        return None
    return Facts(**{key: names.pop() for key, names in named.items()})
