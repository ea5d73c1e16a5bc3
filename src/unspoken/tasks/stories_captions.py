"""The captions of a story of StoryReasoning: its text, divided at the tags that begin a frame.

    <gdi image1> <gdo char1>Ann</gdo> <gda char1>knocks</gda>. </gdi> <gdi image2> Nobody answers. </gdi>

    1  Ann knocks.
    2  Nobody answers.

A caption goes from its tag to the next such tag. What stands before the first one belongs to the first, and what stands
behind a tag that comes again is added to the caption of that frame: no word is lost.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unspoken.errors import DataError
from unspoken.tasks.read_rows import shown
from unspoken.tasks.sentences import sentences

_FRAME = re.compile(r"<gdi\s+image\s*(\d+)\s*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Captions:
    """The text of a story by frames, and what was odd about it.

    Attributes:
        texts: A caption for each frame; empty where the story says nothing.
        repeated: Frames whose tag stands more than once; the parts are joined.
        begins_outside: Whether text stands before the first tag; it begins that caption.
        beyond: Numbers of tags for which there is no frame; their text is in no caption.
    """

    texts: tuple[str, ...]
    repeated: tuple[int, ...]
    begins_outside: bool
    beyond: tuple[int, ...]


def captions_of(story: str, frames: int) -> Captions:
    """The captions of a story.

    Args:
        story: Its text with tags.
        frames: How many images it has.

    Raises:
        DataError: No tag of a frame stands in it.
    """
    tags = list(_FRAME.finditer(story))
    if not tags:
        raise DataError(f"no <gdi imageN> stands in {shown(story)}; mark where the caption of each image begins")
    parts: dict[int, list[str]] = {}
    ends = [*(tag.start() for tag in tags[1:]), len(story)]
    outside = without_tags(story[: tags[0].start()])
    for tag, end in zip(tags, ends, strict=True):
        parts.setdefault(_number(tag), []).append(without_tags(story[tag.end() : end]))
    parts[_number(tags[0])].insert(0, outside)
    return Captions(
        texts=tuple(" ".join(part for part in parts.get(frame, ()) if part) for frame in range(1, frames + 1)),
        repeated=tuple(sorted(frame for frame in parts if sum(_number(tag) == frame for tag in tags) > 1)),
        begins_outside=bool(outside),
        beyond=tuple(sorted(frame for frame in parts if not 1 <= frame <= frames)),
    )


def without_tags(text: str) -> str:
    """A text without its tags, with single spaces. `<` is a tag only where a letter follows."""
    return " ".join(_TAG.sub("", text).split())


def first_sentences(text: str, most: int) -> str:
    """The first sentences of a text, with at most so many words; of a first sentence that is longer, all."""
    kept: list[str] = []
    for sentence in sentences(text):
        if kept and len(" ".join([*kept, sentence]).split()) > most:
            break
        kept.append(sentence)
    return " ".join(kept)


def first_words(text: str, most: int) -> str:
    """As `first_sentences`, but a first sentence that is longer is cut."""
    return " ".join(first_sentences(text, most).split()[:most])


def named(ids: Sequence[str], most: int = 10) -> str:
    """The first few of some stories, for a message."""
    more = f" and {len(ids) - most:,} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def _number(tag: re.Match[str]) -> int:
    digits = tag[1].lstrip("0")
    # longer numbers would take Python long to read, and no story has so many images
    return int(digits or "0") if len(digits) < 10 else 10**9
