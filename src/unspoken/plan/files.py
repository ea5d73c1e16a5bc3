"""What training and evaluation would stumble over in the files of a recipe, found before anything is loaded."""

from unspoken.errors import DataError
from unspoken.plan.sample import Data, vocabulary_of
from unspoken.recipe import Recipe
from unspoken.tasks.shared import remark_on_shared, shared

MAX_WORDS = 20
"""Unknown words that a message names."""


def refuse_unusable_files(recipe: Recipe, data: Data) -> None:
    """Refuse rows with words that a tokenizer from scratch would not know, and images that are not there.

    Raises:
        DataError: Names them all.
    """
    problems = _unknown_words(recipe, data)
    if recipe.model.vision is not None:
        problems += _absent_images(recipe, data)
    if problems:
        raise DataError("\n".join(problems))


def shared_questions(data: Data) -> list[str]:
    """A remark on each split that asks what training rows ask."""
    training = data.files.get("train", ())
    counts = {split: len(shared(training, rows)) for split, rows in data.files.items() if split != "train"}
    return [remark_on_shared(split, count) for split, count in counts.items() if count]


def _unknown_words(recipe: Recipe, data: Data) -> list[str]:
    if recipe.model.path is not None or recipe.model.tokenizer is not None:
        return []
    text, fixed = recipe.task.text, recipe.task.words()
    if fixed is None and "train" not in data.files:
        return []
    known = set(fixed) if fixed is not None else vocabulary_of(data.files["train"], text)
    problems = []
    for split, rows in data.files.items():
        unknown = sorted(vocabulary_of(rows, text) - known)
        if unknown:
            named = [*map(repr, unknown[:MAX_WORDS])]
            named += [f"and {len(unknown) - MAX_WORDS:,} more"] if len(unknown) > MAX_WORDS else []
            problems.append(
                f"task.{split}: words that a tokenizer from scratch does not know, as no training row has them: "
                f"{', '.join(named)}; set model.tokenizer to a subword tokenizer"
            )
    return problems


def _absent_images(recipe: Recipe, data: Data) -> list[str]:
    from unspoken.vision.preflight import refuse_absent

    pairs = [(row.id, image) for rows in data.files.values() for row in rows for image in row.images]
    try:
        if pairs:
            refuse_absent(pairs, recipe.task.image_root)
    except DataError as error:
        return [str(error)]
    return []
