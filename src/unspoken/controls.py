"""The controls: what each takes away from a trained model, and how it is spoken of. `evaluation` carries them out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Control:
    """How a control is spoken of.

    Attributes:
        short: What stands in the place of the thoughts, in a table or beside a bar.
        phrase: The same in a sentence.
        of: What it changes: the thoughts, or what the model sees.
    """

    short: str
    phrase: str
    of: Literal["thoughts", "images"] = "thoughts"

    @property
    def is_of_images(self) -> bool:
        """Whether it changes what the model sees, and leaves its thoughts alone."""
        return self.of == "images"


CONTROLS = {
    "zero": Control("zeroed", "with its thoughts zeroed"),
    "removed": Control("taken out", "with its thoughts taken out"),
    "mean": Control("mean thought", "with the mean thought in place of each"),
    "noise": Control("noise", "with noise in place of its thoughts"),
    "another_row": Control("another row's", "with the thoughts of another question"),
    "no_image": Control("no image", "without its images", "images"),
    "blank_image": Control("blank image", "with a blank image in place of each", "images"),
    "another_image": Control("another's image", "with the images of another question", "images"),
    "shuffled_images": Control("another order", "with its images in another order", "images"),
}
"""By name, in the order in which they are told."""

THOUGHT_CONTROLS = tuple(name for name, control in CONTROLS.items() if not control.is_of_images)
IMAGE_CONTROLS = tuple(name for name, control in CONTROLS.items() if control.is_of_images)


def control_named(name: str) -> Control:
    """How a control is spoken of, known or not."""
    return CONTROLS.get(name, Control(name, f"under the control {name}"))


def in_order(controls: Iterable[str]) -> list[str]:
    """Names of controls in the order in which they are told; those that are not known come last."""
    known = [*CONTROLS]
    return sorted(set(controls), key=lambda name: (known.index(name) if name in known else len(known), name))


def taken_away(controls: Iterable[str]) -> str:
    """What these controls take away, in a word or three."""
    return "thoughts or images" if any(control_named(name).is_of_images for name in controls) else "thoughts"
