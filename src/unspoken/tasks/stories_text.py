r"""How a story reads, in both tasks that tell stories: the captions of the frames so far, each after its place.

1: The red circle wants the small green star.
2: The wind blows the things about.
NEXT:
"""

import re
from collections.abc import Sequence

NEXT = "NEXT:"
"""Ends the question; the caption of the next frame is the answer."""
MOST_FRAMES = 8
"""Frames of a generated story, what happens next included."""

_LINE = re.compile(r"\d+:(?: (.*))?")


def story_so_far(captions: Sequence[str], first: int = 1) -> str:
    """The question of a story.

    Args:
        captions: Of the frames so far; an empty one leaves its place alone.
        first: Place of the first of them in its story.
    """
    lines = [f"{place}: {caption}".rstrip() for place, caption in enumerate(captions, first)]
    return "\n".join([*lines, NEXT])


def captions_told(question: str) -> tuple[str, ...] | None:
    """The captions in the question of a story, empty ones too; None when it is no such question."""
    *lines, last = question.split("\n")
    told = [_LINE.fullmatch(line) for line in lines]
    return tuple(match[1] or "" for match in told if match) if last == NEXT and all(told) else None
