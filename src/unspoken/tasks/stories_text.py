r"""How a story reads, in both tasks that tell stories: the captions of the frames so far, each after its place.

1: The red circle wants the small green star.
2: The wind blows the things about.
NEXT:
"""

from collections.abc import Sequence

NEXT = "NEXT:"
"""Ends the question; the caption of the next frame is the answer."""
MOST_FRAMES = 8
"""Frames of a generated story, what happens next included."""


def story_so_far(captions: Sequence[str], first: int = 1) -> str:
    """The question of a story.

    Args:
        captions: Of the frames so far.
        first: Place of the first of them in its story.
    """
    lines = [f"{place}: {caption}" for place, caption in enumerate(captions, first)]
    return "\n".join([*lines, NEXT])
