"""Shapes: look at a picture of coloured shapes, follow relations or arrows from one to the next, say what is there.

question  What colour is the thing left of the thing below the red circle? The choices are 0 : red, 1 : blue, 2 : green
steps     below the red circle is the blue square | left of the blue square is the green star
answer    green

question  What colour is the thing 2 arrows from the red circle? The choices are 0 : red, 1 : blue, 2 : green
steps     blue square | green star
answer    green

Nothing but the picture tells the answer; `unspoken.tasks.shapes_scene` says how that is made sure, and
`unspoken.tasks.shapes_arrows` why arrows are another task than relations.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Literal, Self, cast

from pydantic import Field, PositiveInt, model_validator

from unspoken.config import Count
from unspoken.errors import DataError
from unspoken.files import flush, place, sha256_of
from unspoken.records import Example, Ledger, Split, TextFormat
from unspoken.tasks.base import Task
from unspoken.tasks.chance import choose
from unspoken.tasks.shapes_arrows import ArrowQuestion, draw_arrow_question, turned
from unspoken.tasks.shapes_picture import draw, png
from unspoken.tasks.shapes_scene import (
    ARROWS,
    COLOURS,
    SHAPES,
    VALUES,
    WORDS,
    Attribute,
    Question,
    Scene,
    draw_question,
    neighbour,
    split_of,
)

MAX_HOPS = 5
MIN_CELL = 12
"""Pixels of a cell's side below which small shapes look alike."""

_VERSION = 2
"""Part of the name of the folder of pictures: one more when equal settings give other rows or pictures."""
_ID = re.compile(r"shapes/(?P<split>train|validation|test)/(?P<number>\d+)")
_DRAW = {"relations": draw_question, "arrows": draw_arrow_question}
_NOT_IN_A_PICTURE = {"name", "about", "folder", "train_rows", "validation_rows", "test_rows"}


class Shapes(Task):
    """Generated pictures with questions of several hops; the picture files are written when rows are asked for.

    No picture is in two splits.
    """

    name: Literal["shapes"] = "shapes"
    about: Literal["walk", "scene"] = "walk"
    """What is asked: where a walk from object to object ends, or what stands in each cell, row by row, by which a model
    learns to see."""
    follow: Literal["relations", "arrows"] = "relations"
    """What leads from an object to the next: a relation that the question says, or an arrow on it in the picture."""
    hops: Annotated[int, Field(ge=1, le=MAX_HOPS)] = 3
    """Relations or arrows to follow from the object that the question names."""
    grid: Annotated[int, Field(ge=2, le=32)] = 4
    """Rows and columns of cells; each object stands in its own cell."""
    min_objects: PositiveInt = 7
    """Fewest objects of a picture, at least `choices` + `hops`."""
    max_objects: PositiveInt = 10
    """Most objects of a picture."""
    ask: Annotated[tuple[Attribute, ...], Field(min_length=1)] = ("colour", "shape")
    """What is asked of the last object, each as often as the others: colour, shape, size (which has two values)."""
    choices: Annotated[int, Field(ge=2)] = 4
    """Answers that the question offers; each is a value of some object in the picture."""
    image_size: PositiveInt = 64
    """Pixels on each side of a picture."""
    folder: Path = Field(default=Path("data/shapes"), validate_default=False)
    """Where the pictures lie: `<key of the settings>/<split>/<number>.png`. Those that exist are kept."""
    train_rows: PositiveInt = 10_000
    validation_rows: PositiveInt = 200
    test_rows: PositiveInt = 1_000
    seed: Count = 0
    """Seed of scenes and questions."""

    @model_validator(mode="after")
    def _scenes_can_be_drawn(self) -> Self:
        most = min(self.grid**2, len(COLOURS) * len(SHAPES))
        if self.max_objects > most:
            raise ValueError(
                f"{self.max_objects} objects do not fit: a grid of {self.grid} x {self.grid} has {self.grid**2} cells "
                f"and there are {len(COLOURS) * len(SHAPES)} pairs of colour and shape; set max_objects to at most "
                f"{most} or raise grid"
            )
        if self.min_objects > self.max_objects:
            raise ValueError(f"min_objects is {self.min_objects}, max_objects {self.max_objects}; exchange them")
        needed = self.choices + self.hops
        if self.min_objects < needed:
            raise ValueError(
                f"{self.choices} choices and {self.hops} hops need {needed} objects, min_objects is "
                f"{self.min_objects}; raise it to {needed}, or lower choices or hops"
            )
        return self

    @model_validator(mode="after")
    def _questions_can_be_asked(self) -> Self:
        if len(set(self.ask)) < len(self.ask):
            raise ValueError(f"ask holds {', '.join(self.ask)}; name each attribute once")
        for attribute in self.ask:
            if self.choices > len(VALUES[attribute]):
                raise ValueError(
                    f"{self.choices} choices are offered, {attribute} has only {len(VALUES[attribute])} values; lower "
                    f"choices or take {attribute} out of ask"
                )
        if self.image_size < MIN_CELL * self.grid:
            raise ValueError(
                f"{self.image_size} pixels leave {self.image_size / self.grid:.1f} for a cell, shapes need {MIN_CELL}; "
                f"set image_size to at least {MIN_CELL * self.grid} or lower grid"
            )
        return self

    @property
    def has_images(self) -> bool:
        """See `Task.has_images`."""
        return True

    @property
    def chance(self) -> float:
        """Expected accuracy of a guess."""
        return 1 / self.choices if self.about == "walk" else 0.0

    @property
    def text(self) -> TextFormat:
        """With arrows the steps are a list of names: nothing stands between an object and what it points at."""
        return TextFormat() if self.follow == "relations" else TextFormat(step_end=" ")

    @property
    def max_new_tokens(self) -> int:
        """10 words a step, 3 for the answer with its start and end; half as many again where words are split."""
        return (
            15 * self.hops + 5 if self.about == "walk" else (5 if self.follow == "relations" else 9) * self.grid**2 + 5
        )

    def words(self) -> Sequence[str]:
        """The same for all settings."""
        return WORDS

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of a split; a row depends on nothing but the settings of its picture, its split and its number.

        Raises:
            DataError: The objects are too few for walks on so large a grid, or a picture cannot be written.
        """
        rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        folder = self.pictures(split)
        existing = {path.name for path in folder.glob("*.png")}
        examples = tuple(self._example(split, number, folder, existing) for number in range(1, rows + 1))
        flush(folder)  # once: after every single file it would take longer than all else
        return examples, Ledger(rows_in=rows, rows_kept=rows)

    def pictures(self, split: Split) -> Path:
        """The folder of a split's pictures; other settings have another one."""
        settings = self.model_dump(mode="json", exclude=_NOT_IN_A_PICTURE)
        return self.folder / sha256_of({**settings, "version": _VERSION})[:12] / split

    def question(self, split: Split, number: int) -> Question:
        """The question of a row with its scene: what the oracle knows.

        Args:
            split: The split of the row.
            number: Which row, from 1.
        """
        rng = Random(f"{self.seed}/shapes/{split}/{number}")
        while True:
            question = _DRAW[self.follow](
                rng,
                grid=self.grid,
                objects=choose(range(self.min_objects, self.max_objects + 1), rng),
                hops=self.hops,
                attribute=choose(self.ask, rng),
                choices=self.choices,
                position=(number - 1) % self.choices,
            )
            if split_of(question.scene) == split:
                return question

    def shifts(self) -> Mapping[str, Task]:
        """Fewer and more hops than trained, with as many objects where they suffice."""
        variants = {}
        for hops in (self.hops - 1, self.hops + 1, self.hops + 2):
            needed = self.choices + hops
            if 1 <= hops <= MAX_HOPS and needed <= self.max_objects:
                changes = {"hops": hops, "min_objects": max(self.min_objects, needed)}
                variants[f"{hops} hops"] = Shapes(**{**self.model_dump(), **changes})
        return variants

    def counterfactual(self, example: Example, rng: Random) -> Example | None:
        """One arrow of the walk points elsewhere, so that another choice is right; the picture lies beside the others.

        Questions in relations have none.

        Raises:
            DataError: The picture cannot be written.
        """
        own = _ID.fullmatch(example.id)
        if own is None or self.about == "scene":
            return None
        split = cast(Split, own["split"])
        question = self.question(split, int(own["number"]))
        found = tuple(turned(question)) if isinstance(question, ArrowQuestion) else ()
        if not found:
            return None
        changed = choose(found, rng)
        pairs = zip(question.scene.things, changed.scene.things, strict=True)
        arrow = next(new for old, new in pairs if old != new)
        path = self.pictures(split) / f"{own['number']}-{arrow.name}-{arrow.arrow}.png".replace(" ", "-")
        _write(path, png(draw(changed.scene, self.image_size)))
        return self._walk(f"{example.id}/changed", changed, path)

    def _example(self, split: Split, number: int, folder: Path, existing: set[str]) -> Example:
        question = self.question(split, number)
        path = folder / f"{number}.png"
        if path.name not in existing:
            _write(path, png(draw(question.scene, self.image_size)))
        if self.about == "scene":
            text, answer = "What is in the picture?", _inventory(question.scene)
            return Example(f"shapes/{split}/{number}", text, (), answer, images=(str(path),))
        return self._walk(f"shapes/{split}/{number}", question, path)

    def _walk(self, id: str, question: Question, path: Path) -> Example:
        return Example(
            id=id,
            question=question.text,
            steps=question.steps,
            answer=question.answer,
            # an object is named by two words, and a search that holds it may hold either
            frontiers=tuple((thing.kind.colour, thing.kind.shape) for thing in question.walk),
            images=(str(path),),
            choices=question.choices,
        )


def _inventory(scene: Scene) -> str:
    """What stands in each cell, row by row, and what its arrow points at."""
    names = {thing.cell: thing.name for thing in scene.things}
    for thing in scene.things:
        if thing.arrow is not None:
            names[thing.cell] += f" to {neighbour(scene, thing, ARROWS[thing.arrow]).name}"
    cells = [(row, column) for row in range(scene.grid) for column in range(scene.grid)]
    return ", ".join(names.get(cell, "nothing") for cell in cells)


def _write(path: Path, data: bytes) -> None:
    try:
        place(path, data)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another task.folder") from error
