r"""Toy stories: look at the frames of a story, read its captions, say what happens next.

question  1: The red circle wants the small green star.
          2: The small blue cross is what the yellow star dreams of.
          3: The wind blows the things about.
          4: It gets dark. The things are put away and all but one go home.
          NEXT:
steps     the red circle stays | the red circle wants the small green star | the small green star was last seen in
          picture 2 | the small green star was at the blue house
answer    The red circle goes to the blue house and takes the small green star.

Neither the words nor the frames tell it alone, nor the last frame and caption; `unspoken.tasks.toy_stories_plot` says
how that is made sure. An answer is right when it says who takes what where, in whatever words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, PositiveInt, model_validator

from unspoken.config import Count
from unspoken.errors import DataError
from unspoken.files import flush, place, read_json_lines, sha256_of, write_json_lines
from unspoken.records import Example, Ledger, Split
from unspoken.tasks.chance import choose
from unspoken.tasks.shapes_picture import draw, png
from unspoken.tasks.shapes_scene import COLOURS
from unspoken.tasks.stories_text import MOST_FRAMES
from unspoken.tasks.story_task import StoryTask
from unspoken.tasks.toy_stories_plot import (
    FORMS,
    HOUSES,
    Facts,
    Story,
    draw_story,
    scenes_of,
    split_of,
    with_another_wish,
)
from unspoken.tasks.toy_stories_words import FRAME, WORDS, captions_of, facts_in, facts_named, inventory, steps_of

MIN_IMAGE = 36
"""Pixels on each side of a frame below which small shapes look alike."""
METADATA = "metadata.jsonl"
"""Beside the pictures of a split: for each story its files, captions, steps and facts."""

_VERSION = 1
"""Part of the name of the folder of pictures: one more when equal settings give other rows or pictures."""
_ID = re.compile(r"toy_stories/(?P<split>train|validation|test)/(?P<number>\d+)")
_NOT_IN_A_PICTURE = {"name", "about", "context", "folder", "train_rows", "validation_rows", "test_rows"}


class ToyStories(StoryTask):
    """Generated visual stories whose next caption needs both the frames and the words; frames are written as PNG files.

    No story is in two splits.
    """

    name: Literal["toy_stories"] = "toy_stories"
    about: Literal["story", "frame"] = "story"
    """What is asked: how the story goes on, or what stands in one of the frames that are shown, place by place,
    by which a model learns to see."""
    frames: Annotated[int, Field(ge=4, lt=MOST_FRAMES)] = 4
    """Frames before the one whose caption is asked for; that one is drawn, too, but not shown."""
    characters: Annotated[int, Field(ge=2, le=HOUSES)] = 2
    """Who take part; one of them acts in the end."""
    things: Annotated[int, Field(ge=2, le=HOUSES)] = 2
    """What they may want."""
    colours: Annotated[int, Field(ge=HOUSES, le=len(COLOURS))] = 4
    """Different colours of characters, things and houses."""
    shapes: Annotated[int, Field(ge=2, le=len(FORMS))] = 4
    """Different shapes of characters and things."""
    image_size: Annotated[int, Field(ge=MIN_IMAGE)] = 48
    """Pixels on each side of a frame."""
    folder: Path = Field(default=Path("data/toy_stories"), validate_default=False)
    """Where the frames lie: `<key of the settings>/<split>/<number>-<frame>.png`. Those that exist are kept."""
    train_rows: PositiveInt = 10_000
    validation_rows: PositiveInt = 200
    test_rows: PositiveInt = 1_000
    seed: Count = 0
    """Seed of plots, wordings and pictures."""

    @model_validator(mode="after")
    def _stories_can_be_told(self) -> Self:
        if self.about == "frame" and self.context == "words":
            raise ValueError("about: frame asks what stands in an image, and context: words shows none; change one")
        needed = self.characters + 1
        if self.frames < needed:
            raise ValueError(
                f"{self.characters} characters need a frame each for their wishes and one for the evening, frames is "
                f"{self.frames}; raise it to {needed} or lower characters"
            )
        kinds = self.colours * self.shapes
        if self.characters + self.things > kinds:
            raise ValueError(
                f"{self.characters} characters and {self.things} things need as many pairs of colour and shape, and "
                f"there are {kinds}; raise colours or shapes"
            )
        return self

    @property
    def is_caption(self) -> bool:
        """What stands in a frame is a list."""
        return self.about == "story"

    @property
    def max_new_tokens(self) -> int:
        """Steps and answer together take up to 60 words; half as many again where words are split."""
        return 90

    def words(self) -> Sequence[str]:
        """The same for all settings."""
        return WORDS

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The rows of a split; a row depends on nothing but the settings of its frames, its split and its number.

        Raises:
            DataError: A frame cannot be written.
        """
        rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        folder = self.pictures(split)
        existing = {path.name for path in folder.glob("*.png")}
        examples = []
        described = []
        for number in range(1, rows + 1):
            story = self.story(split, number)
            captions = self._captions(story, split, number)
            self._draw(story, split, number, existing)
            examples.append(self._example(f"toy_stories/{split}/{number}", story, captions, split, number))
            described.append(_description(examples[-1], story, self._paths(split, number), captions))
        flush(folder)  # once: after every single file it would take longer than all else
        _describe(folder / METADATA, described)
        return tuple(examples), Ledger(rows_in=rows, rows_kept=rows)

    def pictures(self, split: Split) -> Path:
        """The folder of a split's frames; other settings have another one."""
        settings = self.model_dump(mode="json", exclude=_NOT_IN_A_PICTURE)
        return self.folder / sha256_of({**settings, "version": _VERSION})[:12] / split

    def story(self, split: Split, number: int) -> Story:
        """The plot of a row: what the oracle knows.

        Args:
            split: The split of the row.
            number: Which row, from 1.
        """
        rng = self._chance("plot", split, number)
        while True:
            story = draw_story(
                rng,
                days=self.frames - 1,
                characters=self.characters,
                things=self.things,
                colours=self.colours,
                shapes=self.shapes,
            )
            if split_of(story) == split:
                return story

    def counterfactual(self, example: Example, rng: Random) -> Example | None:
        """The one who stays wants another thing: the same frames and wordings, one wish and so the answer changed.

        Where wishes are not shown there is none: nobody could see the change.
        """
        own = _ID.fullmatch(example.id)
        if own is None or self.context == "images" or self.about == "frame":
            return None
        split, number = cast(Split, own["split"]), int(own["number"])
        story = self.story(split, number)
        others = [thing for thing in range(self.things) if thing != story.wanted]
        changed = with_another_wish(story, choose(others, rng))
        captions = self._captions(changed, split, number)
        # the frame that would follow now is drawn nowhere
        return replace(self._example(f"{example.id}/changed", changed, captions, split, number), next_image=None)

    def normalise(self, answer: str) -> str:
        """Who takes what where; nothing where one of them is missing or named twice. A list is compared as it is."""
        if self.about == "frame":
            return super().normalise(answer)
        facts = facts_in(answer)
        return "" if facts is None else " / ".join(facts)

    def facts(self, answer: str) -> Mapping[str, str]:
        """Who, what and where, each where it is named and no other one."""
        return facts_named(answer)

    def credit(self, example: Example, predicted: str | None) -> float | None:
        """The share of the three facts that is right."""
        if self.about == "frame":
            return None
        if predicted is None:
            return 0.0
        right = self.normalise(example.answer).split(" / ")
        named = predicted.split(" / ")
        return sum(one == other for one, other in zip(named, right, strict=True)) / len(Facts._fields)

    def _chance(self, of: str, split: Split, number: int) -> Random:
        return Random(f"{self.seed}/toy_stories/{of}/{split}/{number}")

    def _captions(self, story: Story, split: Split, number: int) -> tuple[str, ...]:
        return captions_of(story, self._chance("words", split, number))

    def _paths(self, split: Split, number: int) -> list[Path]:
        folder = self.pictures(split)
        return [folder / f"{number}-{frame}.png" for frame in range(1, self.frames + 2)]

    def _draw(self, story: Story, split: Split, number: int, existing: set[str]) -> None:
        """Write the frames of a story that are not there yet.

        Raises:
            DataError: One cannot be written.
        """
        paths = self._paths(split, number)
        if all(path.name in existing for path in paths):
            return
        for path, scene in zip(paths, scenes_of(story, self._chance("picture", split, number)), strict=True):
            if path.name not in existing:
                try:
                    place(path, png(draw(scene, self.image_size)))
                except OSError as error:
                    reason = f"{path} cannot be written: {error.strerror}"
                    raise DataError(f"{reason}; give another task.folder") from error

    def _example(self, id: str, story: Story, captions: Sequence[str], split: Split, number: int) -> Example:
        *told, answer = captions
        *shown, following = map(str, self._paths(split, number))
        if self.about == "frame":
            frame = number % self.frames
            scene = scenes_of(story, self._chance("picture", split, number))[frame]
            return Example(id, FRAME.format(place=frame + 1), (), inventory(scene), images=tuple(shown))
        row = self.so_far(shown, told)
        return replace(row, id=id, steps=steps_of(story), answer=answer, next_image=following)


def _description(example: Example, story: Story, frames: Sequence[Path], captions: Sequence[str]) -> dict[str, Any]:
    """What stands in the metadata of a story."""
    names = [path.name for path in frames]
    facts = story.facts._asdict()
    return {"id": example.id, "images": names, "captions": list(captions), "steps": list(example.steps), **facts}


def _describe(path: Path, described: list[dict[str, Any]]) -> None:
    """Write what the pictures are, unless the file says so already, of as many stories or more.

    Raises:
        DataError: It cannot be written.
    """
    try:
        if path.is_file() and read_json_lines(path)[: len(described)] == described:
            return
        write_json_lines(path, described)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; give another task.folder") from error
