"""Scenes of coloured shapes on a grid, questions that follow relations from object to object, and who answers them.

question  What colour is the thing left of the thing below the red circle? The choices are 0 : blue, 1 : green
steps     below the red circle is the blue square | left of the blue square is the green star
answer    green

How a question is drawn keeps everything but the last hop from telling the answer. Each choice has one object that
may become the last one; which of them does is decided apart from all else, and no other object of the walk is one of
them. So whoever knows the question, the objects of the scene and the walk up to its last hop still guesses. Where
objects stand does tell something about where the walk ends; `STRAIGHT` and `NEAR` keep that little.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from unspoken.errors import DataError
from unspoken.records import Split
from unspoken.tasks.chance import choose, shuffled

Attribute: TypeAlias = Literal["colour", "shape", "size"]
Cell: TypeAlias = tuple[int, int]
"""Row and column, counted from the upper left."""
Way: TypeAlias = tuple[tuple[Cell, ...], tuple[str, ...]]
"""Cells, of which those of a walk come first and in its order, and the relations of the walk."""

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
SIZES = ("small", "large")
VALUES: Mapping[Attribute, tuple[str, ...]] = {"colour": COLOURS, "shape": SHAPES, "size": SIZES}

RELATIONS: Mapping[str, Cell] = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
"""For each relation the way to look for the nearest object: rows down, columns to the right."""

STRAIGHT = 0.15
"""Share of walks that end at the object to which their relations point together."""
NEAR = 0.6
"""Share of walks that end in the nearer half of the objects around the anchor."""
MAX_WISHES = 100
"""Scenes that are drawn for a walk of the wished kind before any walk is taken: some settings have but one kind."""
MAX_DRAWS = 1_000
"""Scenes that are drawn for any walk before it counts as impossible."""

ARROWS: Mapping[str, str] = {"left": "left of", "right": "right of", "up": "above", "down": "below"}
"""For each way that an arrow points the relation of what it points at."""

_FIXED = (
    "What is the thing left right of above below The choices are ? : , ### in picture nothing \n arrow arrows from to"
)
_MOST_CHOICES = max(map(len, VALUES.values()))
WORDS = (
    *_FIXED.split(" "),
    *map(str, range(_MOST_CHOICES)),
    *(word for attribute, values in VALUES.items() for word in (attribute, *values)),
)
"""Every word that a row can hold, whatever the settings."""


class Kind(NamedTuple):
    """What an object is, wherever it stands."""

    colour: str
    shape: str
    size: str


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a scene.

    Attributes:
        kind: Its colour, shape and size.
        cell: Where it stands.
        shift: How far it is drawn off the middle of its cell, right and down, each from -1 to 1. Scenes that differ
            in nothing else are equal.
        arrow: Where the arrow on it points, one of `ARROWS`; None when it carries none.
    """

    kind: Kind
    cell: Cell
    shift: tuple[float, float] = field(default=(0.0, 0.0), compare=False)
    arrow: str | None = None

    @property
    def name(self) -> str:
        """What only this object of its scene is called: "red circle"."""
        return f"{self.kind.colour} {self.kind.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects on a grid.

    Attributes:
        grid: Rows of the grid, and columns.
        things: The objects, row by row; no two share a cell, or both colour and shape.
    """

    grid: int
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene.

    Attributes:
        scene: What it is about.
        anchor: The object that is named.
        relations: What to follow from the anchor, first hop first.
        attribute: What is asked of the last object.
        choices: Values of the attribute, one of them the answer, in the order of the text.
    """

    scene: Scene
    anchor: Thing
    relations: tuple[str, ...]
    attribute: Attribute
    choices: tuple[str, ...]

    @property
    def walk(self) -> tuple[Thing, ...]:
        """The object that each hop leads to."""
        here, reached = self.anchor, []
        for relation in self.relations:
            here = neighbour(self.scene, here, relation)
            reached.append(here)
        return tuple(reached)

    @property
    def answer(self) -> str:
        """The right choice."""
        value: str = getattr(self.walk[-1].kind, self.attribute)
        return value

    @property
    def text(self) -> str:
        """The question in words, its choices included."""
        asked = f"the {self.anchor.name}"
        for relation in self.relations:
            asked = f"the thing {relation} {asked}"
        return f"What {self.attribute} is {asked}? {self.offer}"

    @property
    def offer(self) -> str:
        """The choices in words."""
        choices = ", ".join(f"{number} : {choice}" for number, choice in enumerate(self.choices))
        return f"The choices are {choices}"

    @property
    def steps(self) -> tuple[str, ...]:
        """A sentence for each hop."""
        hops = zip(self.relations, (self.anchor, *self.walk), self.walk, strict=False)
        return tuple(f"{relation} the {here.name} is the {there.name}" for relation, here, there in hops)


def neighbour(scene: Scene, thing: Thing, relation: str) -> Thing:
    """The nearest object in that direction, in the same row or column.

    Raises:
        DataError: There is none.
    """
    found = nearest(scene, thing, relation)
    if found is None:
        raise DataError(f"nothing is {relation} the {thing.name}; ask for another relation")
    return found


def nearest(scene: Scene, thing: Thing, relation: str) -> Thing | None:
    """The nearest object in that direction, in the same row or column, where there is one."""
    at = {other.cell: other for other in scene.things}
    cell = _nearest(thing.cell, relation, at, scene.grid)
    return None if cell is None else at[cell]


def split_of(scene: Scene) -> Split:
    """The one split that may ask about a scene: of eight scenes about one is for test and one for validation.

    As the scene itself decides, no split has to know the rows of another, nor how many there are.
    """
    things = ((f"{thing.name} {thing.kind.size} {thing.cell}", thing.arrow) for thing in scene.things)
    written = "; ".join(name if arrow is None else f"{name} {arrow}" for name, arrow in things)
    share = hashlib.sha256(f"{scene.grid}: {written}".encode()).digest()[0] % 8
    return "test" if share == 0 else "validation" if share == 1 else "train"


def draw_question(
    rng: Random, *, grid: int, objects: int, hops: int, attribute: Attribute, choices: int, position: int
) -> Question:
    """A random scene with a question.

    Args:
        rng: Chance.
        grid: Rows and columns of the scene.
        objects: How many it has, at least `choices + hops`.
        hops: Relations to follow.
        attribute: What to ask.
        choices: How many answers to offer.
        position: Which of them is the right one, from 0.

    Raises:
        DataError: So few objects stand in rows and columns together that no walk is found in 1,000 draws.
    """
    cells, relations = _draw_walk(rng, grid, objects, hops)
    offered = shuffled(VALUES[attribute], rng)[:choices]
    candidates, others = _draw_kinds(rng, attribute, offered, objects)
    target = candidates.pop(position)
    # the walk first, then all that it does not pass; the walk is anchor, objects between, target
    kinds = [*others[:hops], target, *shuffled([*others[hops:], *candidates], rng)]
    things = [
        Thing(kind, cell, (2 * rng.random() - 1, 2 * rng.random() - 1)) for kind, cell in zip(kinds, cells, strict=True)
    ]
    scene = Scene(grid, tuple(sorted(things, key=lambda thing: thing.cell)))
    return Question(scene, things[0], relations, attribute, offered)


def _draw_walk(rng: Random, grid: int, objects: int, hops: int) -> Way:
    """Occupied cells, those of a walk first and in its order, and the relations of the walk.

    Walks drawn without a wish end near by and where their relations point, so that a single look at the right corner
    would tell most answers. Each of the two kinds gets a fixed share instead, as far as the settings have both.
    """
    straight, near = rng.random() < STRAIGHT, rng.random() < NEAR
    found = None
    for draw in range(MAX_DRAWS):
        found = _try_walk(rng, grid, objects, hops) or found
        if found is None:
            continue
        cells, relations = found
        # a single hop always leads where it points
        if hops == 1 or draw >= MAX_WISHES:
            return found
        if _is_straight(cells, relations) == straight and _is_near(cells, hops) == near:
            return found
    if found is None:
        raise DataError(
            f"no walk of {hops} hops among {objects} objects on a grid of {grid} x {grid} was found in "
            f"{MAX_DRAWS:,} draws; lower hops or grid, or raise min_objects"
        )
    return found


def _try_walk(rng: Random, grid: int, objects: int, hops: int) -> Way | None:
    """A walk from a random cell, one random hop after the other; None when it comes to a dead end.

    It passes no cell twice, so no relation undoes the one before it: that would lead back.
    """
    cells = shuffled(tuple(product(range(grid), range(grid))), rng)[:objects]
    walk, relations = [cells[0]], list[str]()
    for _ in range(hops):
        near = ((relation, _nearest(walk[-1], relation, cells, grid)) for relation in RELATIONS)
        ways = [(relation, cell) for relation, cell in near if cell is not None and cell not in walk]
        if not ways:
            return None
        relation, cell = choose(ways, rng)
        relations.append(relation)
        walk.append(cell)
    return (*walk, *(cell for cell in cells if cell not in walk)), tuple(relations)


def _is_straight(cells: Sequence[Cell], relations: Sequence[str]) -> bool:
    """Whether no object is nearer than the last one to where the walk would end if every hop were one cell long."""
    pointed = (
        cells[0][0] + sum(RELATIONS[relation][0] for relation in relations),
        cells[0][1] + sum(RELATIONS[relation][1] for relation in relations),
    )
    return _apart(cells[len(relations)], pointed) == min(_apart(cell, pointed) for cell in cells[1:])


def _is_near(cells: Sequence[Cell], hops: int) -> bool:
    """Whether the last object is in the nearer half of the objects around the anchor."""
    own, others = _apart(cells[hops], cells[0]), [_apart(cell, cells[0]) for cell in cells[1:]]
    nearer, farther = sum(other < own for other in others), sum(other > own for other in others)
    return nearer <= farther


def _apart(cell: Cell, other: Cell) -> int:
    """The square of the distance between two cells."""
    return (cell[0] - other[0]) ** 2 + (cell[1] - other[1]) ** 2


def _draw_kinds(
    rng: Random, attribute: Attribute, offered: Sequence[str], objects: int
) -> tuple[list[Kind], list[Kind]]:
    """An object for each value that is offered, and the others; no two share both colour and shape."""
    order = shuffled(tuple(Kind(*each) for each in product(COLOURS, SHAPES, SIZES)), rng)
    taken: set[tuple[str, str]] = set()

    def take(value: str | None) -> Kind:
        kind = next(
            kind
            for kind in order
            if (kind.colour, kind.shape) not in taken and value in (None, getattr(kind, attribute))
        )
        taken.add((kind.colour, kind.shape))
        return kind

    candidates = [take(value) for value in offered]
    return candidates, [take(None) for _ in range(objects - len(offered))]


def _nearest(cell: Cell, relation: str, occupied: Collection[Cell], grid: int) -> Cell | None:
    """The next occupied cell in that direction."""
    down, right = RELATIONS[relation]
    row, column = cell[0] + down, cell[1] + right
    while 0 <= row < grid and 0 <= column < grid:
        if (row, column) in occupied:
            return row, column
        row, column = row + down, column + right
    return None
