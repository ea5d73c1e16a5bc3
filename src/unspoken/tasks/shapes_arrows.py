"""Scenes whose objects carry arrows, and questions that follow them: where a hop leads stands in the picture alone.

question  What colour is the thing 2 arrows from the red circle? The choices are 0 : blue, 1 : green, 2 : orange
steps     blue square | green star
answer    green

A question in relations says beforehand which ways a walk will turn, and what they add up to can be known before the
walk begins. Here each hop has to be read off the picture where the hop before it ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

from unspoken.errors import DataError
from unspoken.tasks.chance import shuffled
from unspoken.tasks.shapes_scene import ARROWS, MAX_DRAWS, Attribute, Question, Scene, draw_question, nearest

Ways: TypeAlias = Mapping[str, Mapping[str, str]]
"""For each object, by name, and each way that its arrow may point the name of the object that it would point at."""
Arrows: TypeAlias = Mapping[str, str]
"""Where the arrow of each object points."""

_POINTING = {relation: arrow for arrow, relation in ARROWS.items()}


@dataclass(frozen=True, slots=True)
class ArrowQuestion(Question):
    """A question about a scene with arrows; it does not say its relations, which are those of the arrows on the way."""

    @property
    def text(self) -> str:
        """The question in words, its choices included."""
        arrows = "1 arrow" if len(self.relations) == 1 else f"{len(self.relations)} arrows"
        return f"What {self.attribute} is the thing {arrows} from the {self.anchor.name}? {self.offer}"

    @property
    def steps(self) -> tuple[str, ...]:
        """What each arrow points at."""
        return tuple(thing.name for thing in self.walk)


def draw_arrow_question(
    rng: Random, *, grid: int, objects: int, hops: int, attribute: Attribute, choices: int, position: int
) -> ArrowQuestion:
    """A random scene with arrows and a question; see `draw_question`.

    Raises:
        DataError: So few objects stand in rows and columns together that no such scene is found in 1,000 draws.
    """
    for _ in range(MAX_DRAWS):
        question = draw_question(
            rng, grid=grid, objects=objects, hops=hops, attribute=attribute, choices=choices, position=position
        )
        arrows = _draw_arrows(rng, question)
        if arrows is not None:
            return _with_arrows(question, arrows, [thing.name for thing in (question.anchor, *question.walk)])
    raise DataError(
        f"no scene of {objects} objects on a grid of {grid} x {grid}, each with another one in its row or column, was "
        f"found in {MAX_DRAWS:,} draws; lower grid or raise min_objects"
    )


def turned(question: ArrowQuestion) -> Iterator[ArrowQuestion]:
    """The question about every scene in which one arrow of the walk points elsewhere and another choice is right.

    A walk that would pass an object twice is left out, as it is where questions are drawn.
    """
    ways = ways_of(question.scene)
    names = [thing.name for thing in (question.anchor, *question.walk)]
    arrows = {thing.name: thing.arrow for thing in question.scene.things if thing.arrow is not None}
    for name in names[:-1]:
        for arrow in ways[name]:
            changed = {**arrows, name: arrow}
            passed = [question.anchor.name]
            for _ in question.relations:
                passed.append(ways[passed[-1]][changed[passed[-1]]])
            if passed == names or len(set(passed)) < len(passed):
                continue
            found = _with_arrows(question, changed, passed)
            if found.answer != question.answer and found.answer in question.choices:
                yield found


def ways_of(scene: Scene) -> Ways:
    """Where arrows may point: at the nearest object in the same row or column."""
    near = (
        (thing.name, arrow, nearest(scene, thing, relation))
        for thing in scene.things
        for arrow, relation in ARROWS.items()
    )
    ways: dict[str, dict[str, str]] = {thing.name: {} for thing in scene.things}
    for name, arrow, there in near:
        if there is not None:
            ways[name][arrow] = there.name
    return ways


def _draw_arrows(rng: Random, question: Question) -> Arrows | None:
    """An arrow for each object, those of the walk along it; None when the scene allows none.

    What no arrow points at would hardly be the answer, and what many point at likely, as a single look tells. So of
    the objects that are offered and off the walk, the last one among them, each is pointed at by just one arrow.
    """
    ways = {name: dict(shuffled(tuple(found.items()), rng)) for name, found in ways_of(question.scene).items()}
    passed = (question.anchor, *question.walk[:-1])
    off = [thing for thing in question.scene.things if thing not in passed]
    once = [thing.name for thing in off if getattr(thing.kind, question.attribute) in question.choices]
    missing = [name for name in once if name != question.walk[-1].name]
    free = [thing.name for thing in off]
    targets = {name: [there for there in ways[name].values() if there in missing] for name in free}
    pointers = {there: [name for name in shuffled(free, rng) if there in targets[name]] for there in missing}
    elsewhere = {name: [arrow for arrow, there in ways[name].items() if there not in once] for name in free}

    points_at: dict[str, str] = {}
    pointed_by: dict[str, str] = {}
    # an exchange along a path leaves nobody alone who had a partner: so both sides can be served, one after the other
    for name in free:
        if not elsewhere[name] and not _pair(name, targets, points_at, pointed_by, set()):
            return None
    for name in missing:
        if name not in pointed_by and not _pair(name, pointers, pointed_by, points_at, set()):
            return None
    arrows = {thing.name: _POINTING[relation] for thing, relation in zip(passed, question.relations, strict=True)}
    for name in free:
        there = points_at.get(name)
        arrows[name] = elsewhere[name][0] if there is None else _way(ways[name], there)
    return arrows


def _pair(
    name: str,
    partners: Mapping[str, Sequence[str]],
    own: dict[str, str],
    others: dict[str, str],
    asked: set[str],
) -> bool:
    """Find a partner, whose former partner takes another one, and so on; false when there is none.

    Args:
        name: Who has none yet.
        partners: Who may be whose partner.
        own: Partners on this side so far.
        others: The same pairs from the other side.
        asked: Who on the other side need not be asked again.
    """
    for other in partners[name]:
        if other not in asked:
            asked.add(other)
            if other not in others or _pair(others[other], partners, own, others, asked):
                own[name], others[other] = other, name
                return True
    return False


def _way(ways: Mapping[str, str], there: str) -> str:
    return next(arrow for arrow, name in ways.items() if name == there)


def _with_arrows(question: Question, arrows: Arrows, passed: Sequence[str]) -> ArrowQuestion:
    """The question with these arrows in its scene, along which the walk passes these objects."""
    things = {thing.name: replace(thing, arrow=arrows[thing.name]) for thing in question.scene.things}
    relations = tuple(ARROWS[arrows[name]] for name in passed[:-1])
    scene = Scene(question.scene.grid, tuple(things.values()))
    return ArrowQuestion(scene, things[passed[0]], relations, question.attribute, question.choices)
