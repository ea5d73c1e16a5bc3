r"""Stories: what happens next after some frames of a film and their captions (StoryReasoning, arXiv:2505.10292).

    {"story_id": "17", "images": [...], "frame_count": 12, "chain_of_thought": "## Image 1 ...",
     "story": "<gdi image1> <gdo char1>Ann</gdo> <gda char1>knocks</gda>. </gdi> <gdi image2> Nobody answers. </gdi>"}

question  1: Ann knocks.
          2: Nobody answers.
          3: ...
          4: ...
          NEXT:
steps     1: Ann knocks at the door | ... | Conflict: Ann is left outside
answer    She goes round the house.

A row is a window of frames of one story. All rows of a story are in one split; official test stories are never trained.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PositiveInt

from unspoken.config import Count
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Rejection, Split
from unspoken.tasks.dataset_rows import rows_with_lists_of_images
from unspoken.tasks.read_rows import Row, Rows, shown
from unspoken.tasks.rows import enforce, notes_on_examples, text_field, value_of, writable
from unspoken.tasks.stories_captions import Captions, captions_of, first_sentences, first_words, named
from unspoken.tasks.stories_leakage import Frames, Shared, fingerprints, near_files, same_files
from unspoken.tasks.stories_split import Division, kept_division
from unspoken.tasks.stories_thoughts import Reasoning, steps_of
from unspoken.tasks.story_task import StoryTask

Window: TypeAlias = range
"""Places of the frames that are shown, from 1; the next one is asked for."""

FINGERPRINTS = "fingerprints.json"
"""Beside the division of the stories: what their images look like."""


@dataclass(frozen=True, slots=True)
class Film:
    """A story as its row holds it, tags read.

    Attributes:
        row: Number of its row.
        id: Its id.
        images: A file name for each frame, or None.
        missing: What is wrong with those that are None, by their places from 1.
        captions: Its text by frames.
        thought: Its chain of thought; empty without one.
    """

    row: int
    id: str
    images: tuple[str | None, ...]
    missing: Mapping[int, str]
    captions: Captions
    thought: str


class Stories(StoryTask):
    """Stories of film frames with captions, from the data set StoryReasoning (3,552 and 626 stories) or a folder."""

    name: Literal["stories"] = "stories"
    dataset: str = "daniel3303/StoryReasoning"
    """Id or folder of a `datasets` data set; its images are written into `images`."""
    dataset_revision: str | None = None
    """Commit, branch or tag of `dataset`, when it is an id."""
    images: Path = Field(default=Path("data/stories/images"), validate_default=False)
    """Folder of the image files; no image outside of it is read."""
    splits: Path = Field(default=Path("data/stories/splits.json"), validate_default=False)
    """File that keeps which official training stories are for training, for validation and held out."""
    test_stories: Literal["official", "held_out"] = "official"
    """What is tested: the official test stories, and the held-out tenth is trained, too; or that tenth."""
    windows: Literal["first", "all"] = "first"
    """Whether a story is asked about once, from its first frame, or at every frame that has enough before it."""
    reasoning: Reasoning = "frames and plan"
    """What becomes steps: what the chain of thought says of the frames, of the phase of the next one, both, nothing."""
    context_words: Annotated[int, Field(ge=1)] | None = None
    """Most words of a caption in the question, whole sentences where the first one fits; the seed takes 25."""
    answer_words: Annotated[int, Field(ge=1)] | None = None
    """Most words of the answer, always whole sentences and at least one."""
    leakage: Literal["exact", "near"] = "exact"
    """How validation and test are compared with the training stories: by equal images, or by nearly equal ones, too."""
    shared_frames: Literal["report", "leave_out"] = "report"
    """What becomes of validation and test stories that share a frame with a training story: counted, or not asked."""
    max_answer_tokens: PositiveInt = 256
    """Longest answer to generate, words of the reasoning included."""
    max_bad_rows: Count = 0
    """Rows that may be left out because something is wrong with them; each one is in the ledger."""
    seed: Count = 0
    """Seed of the division of the stories."""

    @property
    def image_root(self) -> Path:
        """The folder `images`."""
        return self.images

    @property
    def max_new_tokens(self) -> int:
        """As set."""
        return self.max_answer_tokens

    def examples(self, split: Split) -> tuple[Sequence[Example], Ledger]:
        """The windows of the stories of a split, in the order of their rows.

        A story that is too short for a window, or left out for its frames, stands in the ledger without an error.

        Raises:
            DataError: The data set or the division cannot be read, no story has enough frames, or more than
                `max_bad_rows` rows are rejected.
        """
        official = split == "test" and self.test_stories == "official"
        rows = rows_with_lists_of_images(
            self.dataset, self.dataset_revision, "test" if official else "train", self.images
        )
        training = (
            rows
            if not official
            else rows_with_lists_of_images(self.dataset, self.dataset_revision, "train", self.images)
        )
        division = kept_division(self.splits, _frame_counts(training), self.seed)
        notes: list[str] = []
        if not official:
            chosen = set(self._ids(division, split))
            own = tuple(each for each in training.found if _id(each[1]) in chosen)
            if others := len(training.found) - len(own):
                notes.append(f"{_stories(others)} of the training set not in this split")
            rows = replace(training, found=own)
        left_out: frozenset[str] = frozenset()
        if split != "train":
            shared = self._shared(rows, training, set(self._ids(division, "train")))
            notes += self._notes_on_shared(shared, len(rows.found))
            left_out = frozenset(shared.stories) if self.shared_frames == "leave_out" else left_out
        return self._windows(rows, split, left_out, notes)

    def so_far(self, images: Sequence[str], captions: Sequence[str], first: int = 1) -> Example:
        """See `StoryTask.so_far`; captions are cut as set."""
        most = self.context_words
        return super().so_far(
            images, captions if most is None else [first_words(each, most) for each in captions], first
        )

    def normalise(self, answer: str) -> str:
        """Single spaces and nothing else: captions may differ by a comma."""
        return " ".join(answer.split())

    def _ids(self, division: Division, split: Split) -> tuple[str, ...]:
        if split == "validation":
            return division.validation
        if split == "test":
            return division.held_out
        return (*division.train, *(division.held_out if self.test_stories == "official" else ()))

    def _shared(self, rows: Rows, known: Rows, ids: set[str]) -> Shared:
        own = _frames(rows)
        others = {id: names for id, names in _frames(known).items() if id in ids}
        if self.leakage == "exact":
            return same_files(own, others)
        names = [name for frames in (*own.values(), *others.values()) for name in frames]
        prints = fingerprints(names, self.images, self.splits.with_name(FINGERPRINTS))
        return near_files(own, others, prints)

    def _notes_on_shared(self, shared: Shared, total: int) -> list[str]:
        kind = "an image file" if self.leakage == "exact" else "an equal or nearly equal image"
        notes = []
        if shared.stories:
            remedy = "kept" if self.shared_frames == "report" else "left out"
            count = f"{len(shared.stories):,} of {_stories(total)} with {kind} of a training story"
            images = f"{shared.images:,} images, perhaps of the same film"
            notes.append(f"{count} ({images}); {remedy}: {named(shared.stories)}")
        else:
            notes.append(f"none of {_stories(total)} has {kind} of a training story")
        if shared.unread:
            notes.append(f"{shared.unread:,} images that are plain or cannot be opened, compared by their bytes alone")
        return notes

    def _windows(
        self, rows: Rows, split: Split, left_out: frozenset[str], notes: Sequence[str]
    ) -> tuple[Sequence[Example], Ledger]:
        kept: list[Example] = []
        bad: list[Rejection] = list(rows.unreadable)
        passed: list[Rejection] = []
        oddities: dict[str, list[str]] = {}
        seen: Counter[str] = Counter()
        for number, row in rows.found:
            try:
                film = _film(number, row)
            except DataError as error:
                bad.append(Rejection(rows.source, number, str(error)))
                continue
            seen[film.id] += 1
            if seen[film.id] > 1:
                reason = f"the story {film.id} stands in an earlier row; give each its own id"
                bad.append(Rejection(rows.source, number, reason))
            elif film.id in left_out:
                reason = f"story {film.id} shares a frame with a training story; it is left out as set"
                passed.append(Rejection(rows.source, number, reason))
            elif len(film.images) <= self.frames:
                reason = f"story {film.id} has {len(film.images)} frames, {self.frames} and the next one are needed"
                passed.append(Rejection(rows.source, number, reason))
            else:
                for oddity in _oddities(film.captions):
                    oddities.setdefault(oddity, []).append(film.id)
                for window in self._places(len(film.images)):
                    try:
                        kept.append(writable(self._example(film, window, split)))
                    except DataError as error:
                        reason = f"story {film.id}, frames {window[0]} to {window[-1] + 1}: {error}"
                        bad.append(Rejection(rows.source, number, reason))
        if not kept and not bad:
            raise DataError(
                f"no {split} story of {self.dataset} can be asked about: {len(passed)} are shorter than "
                f"task.frames={self.frames} and one more or left out; lower task.frames"
            )
        enforce(rows.source, len(kept), bad, self.max_bad_rows)
        rejected = tuple(sorted((*bad, *passed), key=lambda rejection: rejection.row))
        found = [f"{_stories(len(ids))} {oddity}: {named(ids)}" for oddity, ids in sorted(oddities.items())]
        all_notes = (*notes, *found, *notes_on_examples(kept))
        return tuple(kept), Ledger(len(kept) + len(rejected), len(kept), rejected, all_notes)

    def _places(self, frames: int) -> Sequence[Window]:
        starts = range(1, frames - self.frames + 1) if self.windows == "all" else (1,)
        return [range(start, start + self.frames) for start in starts]

    def _example(self, film: Film, window: Window, split: Split) -> Example:
        target = window[-1] + 1
        for place in (*window, target):
            if not film.captions.texts[place - 1]:
                raise DataError(f"frame {place} has no caption; add it")
        images = []
        for place in window:
            name = film.images[place - 1]
            if name is None:
                raise DataError(f"the image of frame {place} is missing: {film.missing[place]}")
            images.append(name)
        told = [film.captions.texts[place - 1] for place in window]
        answer = film.captions.texts[target - 1]
        if self.answer_words is not None:
            answer = first_sentences(answer, self.answer_words)
        if self.read_answer(self.text.answer_start + answer) != self.normalise(answer):
            raise DataError(
                f"the caption of frame {target} holds {self.text.answer_start!r}, so it cannot be an answer"
            )
        return replace(
            self.so_far(images, told, window[0]),
            id=f"{self.name}/{split}/{film.id}-{target}",
            steps=steps_of(film.thought, window, target, self.reasoning),
            answer=answer,
            next_image=film.images[target - 1],
        )


def _film(number: int, row: Row) -> Film:
    """The story of a row.

    Raises:
        DataError: A column is missing or of another type, the images are not as many as said, or no tag is in the text.
    """
    assert not isinstance(row, str), "the rows of a data set have columns"
    id = _id(row)
    if not id.strip():
        raise DataError("story_id is empty; give the story an id")
    images = tuple(row["images"])
    count = value_of(row, "frame_count") if "frame_count" in row else len(images)
    if count != len(images):
        raise DataError(f"story {id} has {len(images)} images, and frame_count is {shown(count)}; correct it")
    thought = row.get("chain_of_thought") or ""
    if not isinstance(thought, str):
        raise DataError(f"chain_of_thought is {shown(thought)}; it must be a text, or null")
    return Film(number, id, images, row["missing"], captions_of(text_field(row, "story"), len(images)), thought)


def _id(row: Row) -> str:
    assert not isinstance(row, str), "the rows of a data set have columns"
    return str(value_of(row, "story_id"))


def _frame_counts(rows: Rows) -> dict[str, int]:
    return {_id(row): len(row["images"]) for _, row in rows.found if not isinstance(row, str)}


def _frames(rows: Rows) -> Frames:
    found: dict[str, list[str]] = {}
    for _, row in rows.found:
        assert not isinstance(row, str), "the rows of a data set have columns"
        found.setdefault(_id(row), []).extend(name for name in row["images"] if name is not None)
    return found


def _oddities(captions: Captions) -> Sequence[str]:
    """What is odd about a story and mended, in words that follow "3 stories"."""
    found = []
    if captions.repeated:
        found.append("with a tag that stands more than once, whose captions are joined")
    if captions.begins_outside:
        found.append("with text before the first tag, which begins the first caption")
    if captions.beyond:
        found.append("with a tag for which there is no image, whose text is left out")
    return found


def _stories(count: int) -> str:
    return "1 story" if count == 1 else f"{count:,} stories"
