"""The same questions with something else to see: nothing, grey, what another question shows, or another order.

A model that answers as well is not looking. These change what the model reads, not how it thinks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import numpy.typing as npt

from unspoken.errors import DataError
from unspoken.records import ImageInput, StagedExample
from unspoken.tasks.chance import shuffled


@dataclass(frozen=True, slots=True, eq=False)
class Blank:
    """An image without anything in it; an `ImageInput`.

    Attributes:
        values: What the model gets for it.
    """

    values: npt.NDArray[np.float32]

    def array(self) -> npt.NDArray[np.float32]:
        """See `ImageInput.array`."""
        return self.values


def without_images(prompts: Sequence[StagedExample], image_id: int) -> list[StagedExample]:
    """The prompts with their image slots taken out: what can be answered from the words alone."""
    found = []
    for prompt in prompts:
        kept = prompt.input_ids != image_id
        removed = int((~kept).sum())
        found.append(
            replace(
                prompt,
                input_ids=prompt.input_ids[kept],
                labels=prompt.labels[kept],
                first_thought=None if prompt.first_thought is None else prompt.first_thought - removed,
                images=(),
            )
        )
    return found


def with_blank_images(prompts: Sequence[StagedExample], blank: ImageInput) -> list[StagedExample]:
    """The prompts with a blank image in the place of each."""
    return [replace(prompt, images=(blank,) * len(prompt.images)) for prompt in prompts]


def with_images_of_others(prompts: Sequence[StagedExample], seed: int = 0) -> list[StagedExample]:
    """The prompts with the images of another one that has as many, drawn so that every set is used once.

    Raises:
        DataError: A row is the only one with so many images.
    """
    rng = np.random.default_rng(seed)
    found = list(prompts)
    by_count: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        if prompt.images:
            by_count.setdefault(len(prompt.images), []).append(index)
    for count, group in by_count.items():
        if len(group) < 2:
            raise DataError(
                f"another_image: row {prompts[group[0]].id} is the only one with {count} images: there are no others "
                "for it; take more rows, or leave this control out"
            )
        order = rng.permutation(group).tolist()
        # one cycle through all of them: none keeps its own
        for index, other in zip(order, [*order[1:], order[0]], strict=True):
            found[index] = replace(prompts[index], images=prompts[other].images)
    return found


def with_images_in_another_order(prompts: Sequence[StagedExample], seed: int = 0) -> list[StagedExample]:
    """The prompts with their own images in another order, drawn by the id of the row.

    A row whose images are all alike, or that has one, keeps it.

    Raises:
        DataError: No row has two different images.
    """
    found = []
    for prompt in prompts:
        rng = Random(f"{seed}/{prompt.id}")
        order = prompt.images
        while _differ(prompt.images) and _alike(order, prompt.images):
            order = shuffled(prompt.images, rng)
        found.append(replace(prompt, images=order))
    if not any(_differ(prompt.images) for prompt in prompts):
        raise DataError("shuffled_images: no row has two different images to exchange; leave this control out")
    return found


def _differ(images: Sequence[ImageInput]) -> bool:
    return not _alike(images[1:], images[:-1])


def _alike(some: Sequence[ImageInput], others: Sequence[ImageInput]) -> bool:
    """Whether the same is seen at every place."""
    return all(
        one is other or np.array_equal(one.array(), other.array()) for one, other in zip(some, others, strict=True)
    )


def image_controls(
    image_id: int, blank: ImageInput, seed: int = 0
) -> Mapping[str, Callable[[Sequence[StagedExample]], list[StagedExample]]]:
    """What each control of this kind makes of the prompts.

    Args:
        image_id: Id of `<|image|>`.
        blank: A blank image.
        seed: Of the pairing with other rows, and of other orders.
    """
    return {
        "no_image": lambda prompts: without_images(prompts, image_id),
        "blank_image": lambda prompts: with_blank_images(prompts, blank),
        "another_image": lambda prompts: with_images_of_others(prompts, seed),
        "shuffled_images": lambda prompts: with_images_in_another_order(prompts, seed),
    }
