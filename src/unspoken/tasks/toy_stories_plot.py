"""Plots of toy stories: who is there, what each of them is told to want, where things are seen, and what comes next.

By day all characters are about, and things lie at houses, elsewhere from frame to frame or nowhere to be seen. The
words say who wants what; they may say later that somebody changed its mind. In the evening the things are hidden, and
one character stays. It goes where the thing that it wants was seen last.

    words     The red circle wants the small green star. ... The red circle now wants the small blue cross.
    pictures  the cross at the blue house, the cross at the red house, neither, the red circle alone
    next      The red circle goes to the red house and takes the small blue cross.

Who stays, what each one wants and where things lie are drawn apart from each other. So whoever reads the words knows
what each would take, but neither who stays nor where; and whoever sees the pictures knows who stays and where each
thing is, but not which one is wanted. Every thing was seen at another house before: who takes the frames in the
reverse order goes wrong.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from random import Random
from typing import NamedTuple, TypeAlias

from unspoken.records import Split
from unspoken.tasks.chance import choose, shuffled
from unspoken.tasks.shapes_scene import COLOURS, Kind, Scene, Thing

FORMS = ("circle", "triangle", "star", "cross", "diamond")
"""Shapes of characters and of things; houses are squares."""
HOUSES = 3
"""Houses of a story, side by side in the upper row of a frame; characters stand below them and things below these."""

_CHANGE_OF_MIND = 0.5
"""Share of the days without a first wish on which somebody changes its mind."""
HOUSE_ROW, CHARACTER_ROW, THING_ROW = range(3)
"""Rows of a frame."""

Track: TypeAlias = tuple[int | None, ...]
"""The house at which a thing is seen on each day, or None."""


class Wish(NamedTuple):
    """What a caption says: this character wants this thing, by their numbers."""

    character: int
    thing: int


class Facts(NamedTuple):
    """What happens next.

    Attributes:
        who: The character: "red circle".
        what: The thing that it takes: "small green star".
        where: The house at which it does: "blue house".
    """

    who: str
    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Story:
    """A story but for its wording and for how things are drawn.

    Attributes:
        characters: Who takes part.
        things: What they may want.
        houses: Colours of the houses, from left to right.
        told: What the caption of each day says; None: nothing that matters.
        stands: For each day the house below which each character stands.
        seen: For each thing where it is seen.
        stays: The character that is there in the evening.
        evening: The house below which it stands then.
    """

    characters: tuple[Kind, ...]
    things: tuple[Kind, ...]
    houses: tuple[str, ...]
    told: tuple[Wish | None, ...]
    stands: tuple[tuple[int, ...], ...]
    seen: tuple[Track, ...]
    stays: int
    evening: int

    @property
    def wanted(self) -> int:
        """The thing that the one who stays wants in the end."""
        return [wish.thing for wish in self.told if wish is not None and wish.character == self.stays][-1]

    @property
    def last_day(self) -> int:
        """The frame in which that thing was seen last, from 1."""
        track = self.seen[self.wanted]
        return max(day for day, house in enumerate(track, 1) if house is not None)

    @property
    def place(self) -> int:
        """The house at which that thing was seen last."""
        return last_seen(self.seen[self.wanted])

    @property
    def facts(self) -> Facts:
        """What happens next: the oracle."""
        return Facts(
            name_of(self.characters[self.stays]), name_of(self.things[self.wanted]), f"{self.houses[self.place]} house"
        )


def name_of(kind: Kind) -> str:
    """What captions call a character or a thing."""
    return f"small {kind.colour} {kind.shape}" if kind.size == "small" else f"{kind.colour} {kind.shape}"


def last_seen(track: Track) -> int:
    """The house at which a thing was seen last."""
    return [house for house in track if house is not None][-1]


def is_fair(seen: Sequence[Track]) -> bool:
    """Whether these tracks leave no way around the order of frames and around knowing which thing is wanted.

    Each thing is seen first and last at different houses, no two share a house on one day, and the houses where they
    are seen last all differ.
    """
    if not all(map(_moves, seen)):
        return False
    for day in zip(*seen, strict=True):
        houses = [house for house in day if house is not None]
        if len(set(houses)) < len(houses):
            return False
    return len({last_seen(track) for track in seen}) == len(seen)


def draw_story(rng: Random, *, days: int, characters: int, things: int, colours: int, shapes: int) -> Story:
    """A random story.

    Args:
        rng: Chance.
        days: Frames before the evening, at least one for each character and two.
        characters: How many take part, at most one a house.
        things: How many there are, at most one a house.
        colours: How many colours there are, at least one a house.
        shapes: How many shapes there are.
    """
    pairs = shuffled(tuple(product(COLOURS[:colours], FORMS[:shapes])), rng)
    cast = tuple(Kind(*pair, "large") for pair in pairs[:characters])
    wanted = tuple(Kind(*pair, "small") for pair in pairs[characters : characters + things])
    return Story(
        characters=cast,
        things=wanted,
        houses=shuffled(COLOURS[:colours], rng)[:HOUSES],
        told=_draw_wishes(rng, days, characters, things),
        stands=tuple(shuffled(range(HOUSES), rng)[:characters] for _ in range(days)),
        seen=_draw_tracks(rng, days, things),
        stays=choose(range(characters), rng),
        evening=choose(range(HOUSES), rng),
    )


def split_of(story: Story) -> Split:
    """The one split that may tell a story: of eight stories about one is for test and one for validation.

    As the story itself decides, no split has to know the rows of another, nor how many there are.
    """
    share = hashlib.sha256(json.dumps(asdict(story)).encode()).digest()[0] % 8
    return "test" if share == 0 else "validation" if share == 1 else "train"


def with_another_wish(story: Story, thing: int) -> Story:
    """The story in which the one who stays wants another thing in the end, for which it takes every wish of this one.

    Who changed its mind still does: the two things change places in all that is told of it.
    """
    exchanged = {story.wanted: thing, thing: story.wanted}
    told = tuple(
        wish._replace(thing=exchanged.get(wish.thing, wish.thing))
        if wish is not None and wish.character == story.stays
        else wish
        for wish in story.told
    )
    return replace(story, told=told)


def scenes_of(story: Story, rng: Random) -> tuple[Scene, ...]:
    """What the frames show: each day, the evening, and what happens next.

    Args:
        story: The plot.
        rng: How far each object stands off the middle of its place.
    """
    scenes = []
    for day, stands in enumerate(story.stands):
        lies = [(thing, track[day]) for thing, track in zip(story.things, story.seen, strict=True)]
        scenes.append(_scene(story, list(zip(story.characters, stands, strict=True)), lies, rng))
    character = story.characters[story.stays]
    scenes.append(_scene(story, [(character, story.evening)], [], rng))
    scenes.append(_scene(story, [(character, story.place)], [(story.things[story.wanted], story.place)], rng))
    return tuple(scenes)


def _scene(
    story: Story, stands: Sequence[tuple[Kind, int]], lies: Sequence[tuple[Kind, int | None]], rng: Random
) -> Scene:
    houses = [(Kind(colour, "square", "large"), (HOUSE_ROW, place)) for place, colour in enumerate(story.houses)]
    about = [(kind, (CHARACTER_ROW, place)) for kind, place in stands]
    things = [(kind, (THING_ROW, place)) for kind, place in lies if place is not None]
    found = [
        Thing(kind, cell, (2 * rng.random() - 1, 2 * rng.random() - 1)) for kind, cell in (*houses, *about, *things)
    ]
    return Scene(HOUSES, tuple(sorted(found, key=lambda thing: thing.cell)))


def _draw_wishes(rng: Random, days: int, characters: int, things: int) -> tuple[Wish | None, ...]:
    """First a wish of each character, then perhaps another one instead of it."""
    told: list[Wish | None] = [
        Wish(character, choose(range(things), rng)) for character in shuffled(range(characters), rng)
    ]
    wants = {wish.character: wish.thing for wish in told if wish is not None}
    while len(told) < days:
        if rng.random() >= _CHANGE_OF_MIND:
            told.append(None)
            continue
        character = choose(range(characters), rng)
        wants[character] = choose([thing for thing in range(things) if thing != wants[character]], rng)
        told.append(Wish(character, wants[character]))
    return tuple(told)


def _draw_tracks(rng: Random, days: int, things: int) -> tuple[Track, ...]:
    """Tracks of all things; those that are fair are equally likely."""
    tracks = moving_tracks(days)
    while True:
        seen = tuple(choose(tracks, rng) for _ in range(things))
        if is_fair(seen):
            return seen


@cache
def moving_tracks(days: int) -> tuple[Track, ...]:
    """The tracks of one thing that is seen first and last at different houses."""
    return tuple(filter(_moves, product((None, *range(HOUSES)), repeat=days)))


def _moves(track: Track) -> bool:
    houses = [house for house in track if house is not None]
    return len(houses) > 1 and houses[0] != houses[-1]
