"""What tasks that tell stories share: what of the frames so far a row shows, and that its answer is a caption."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pydantic import PositiveInt

from unspoken.records import Example
from unspoken.tasks.base import Task
from unspoken.tasks.stories_text import story_so_far

Context: TypeAlias = Literal["images and words", "images", "words"]


class StoryTask(Task):
    """Base of tasks whose rows show frames of a story and ask for the caption of the next one."""

    frames: PositiveInt = 4
    """Frames that are shown with their captions; the caption of the next one is the answer."""
    context: Context = "images and words"
    """What is shown of each frame: its image and its caption, or one of the two; without captions their places stay."""

    @property
    def is_caption(self) -> bool:
        """See `Task.is_caption`."""
        return True

    @property
    def has_images(self) -> bool:
        """See `Task.has_images`."""
        return self.context != "words"

    def so_far(self, images: Sequence[str], captions: Sequence[str], first: int = 1) -> Example:
        """Frames of a story as a row without id, steps and answer: of images and captions what `context` lets through.

        Args:
            images: Of the frames.
            captions: Of the frames; where they are not shown, any or none.
            first: Place of the first frame in its story.
        """
        said = tuple(captions) if self.context != "images" else ("",) * len(images)
        seen = tuple(images) if self.has_images else ()
        return Example("", story_so_far(said, first), steps=(), answer="", images=seen, captions=said)
