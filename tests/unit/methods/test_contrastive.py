"""The method `contrastive`: which pairs rows make, and what a recipe for it may not say."""

from random import Random

import numpy as np
import pytest

from unspoken.errors import DataError, RecipeError
from unspoken.methods.contrastive import Contrastive
from unspoken.recipe import resolve
from unspoken.records import IGNORED, Example, ThoughtTokens, TokenizedExample

TOKENS = ThoughtTokens(latent=7, start=8, end=9)
EYES = {"train_encoder": True}


def row(id="r", images=("a.png",), steps=(), answer="a red circle"):
    return Example(id=id, question="What is there?", steps=steps, answer=answer, images=images)


def problems(**sections):
    values = {"task": {"name": "shapes"}, "model": {"vision": EYES}, "method": {"name": "contrastive"}, **sections}
    with pytest.raises(RecipeError) as error:
        resolve(values, "r.yaml")
    return error.value.problems


def problem(**sections):
    (found,) = problems(**sections)
    return found


@pytest.mark.parametrize(("caption", "text"), [("answer", "a red circle"), ("question", "What is there?")])
def test_a_row_with_one_image_is_one_pair(caption, text):
    assert Contrastive(caption=caption).pairs([row()]) == [Example("r", "", (), text, images=("a.png",))]


def test_each_step_describes_the_image_of_its_number():
    story = row(images=("1.png", "2.png"), steps=("Tom sleeps.", "Tom wakes."))
    pairs = Contrastive(caption="steps").pairs([story, row("s", ("3.png",), ("Ann sings.",))])
    assert [(pair.id, pair.images, pair.answer) for pair in pairs] == [
        ("r/1", ("1.png",), "Tom sleeps."),
        ("r/2", ("2.png",), "Tom wakes."),
        ("s", ("3.png",), "Ann sings."),
    ]


def test_rows_that_are_no_pairs_are_named_and_counted():
    rows = [row(), row("two", ("a.png", "b.png")), row("none", ()), row("empty", answer=" ")]
    with pytest.raises(DataError) as error:
        Contrastive().pairs(rows)
    assert str(error.value).splitlines() == [
        "3 of 4 rows are no pairs of image and text (method.caption: answer):",
        "  row two: 2 images and 1 captions",
        "  row none: 0 images and 1 captions",
        "  row empty: 1 images and 0 captions",
        "one image a row has a caption, or set another method.caption",
    ]
    with pytest.raises(DataError, match=r"30 of 30 rows[^$]*\n  and 10 more\ngive each image its step"):
        Contrastive(caption="steps").pairs([row(str(number)) for number in range(30)])


def test_a_layout_is_the_caption_and_nothing_is_predicted():
    nothing = np.array([], dtype=np.int32)
    answer = np.array([3, 4, 5, 1], dtype=np.int32)
    tokenized = TokenizedExample("r", nothing, (), (nothing,), (), answer, answer_start=1)
    staged = Contrastive().layout(tokenized, 0, TOKENS, Random(0))
    assert staged.input_ids.tolist() == [4, 5, 1]
    assert staged.labels.tolist() == [IGNORED] * 3
    with pytest.raises(RecipeError, match=r"no model that answers; use the run as model\.vision\.path"):
        Contrastive().prompt(tokenized, 0, TOKENS)


def test_a_task_without_images_is_refused():
    assert (
        "task.name: contrastive needs images and texts that describe them, and the rows of hops name no images; "
        "choose a task with images, such as shapes"
    ) in problems(task={"name": "hops"})


def test_eyes_must_be_described_and_must_learn():
    assert problem(model={}).startswith("model.vision: contrastive trains eyes, and there are none; set layers")
    assert problem(model={"vision": {}}).startswith("model.vision.train_encoder: ")


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("model.path", {"model": {"path": "gpt2", "vision": EYES}}),
        ("model.dropout", {"model": {"dropout": 0.1, "vision": EYES}}),
        ("model.lora", {"model": {"lora": {}, "vision": EYES}}),
        ("model.vision.path", {"model": {"vision": {**EYES, "path": "clip"}}}),
        ("model.vision.slots", {"model": {"vision": {**EYES, "slots": 2}}}),
        ("method.redraw", {"method": {"name": "contrastive", "redraw": True}}),
        ("train.micro_batch_size", {"train": {"micro_batch_size": 64}}),
        ("train.batch_size", {"train": {"batch_size": 1}}),
        ("evaluate.controls", {"evaluate": {"controls": ["blank_image"]}}),
        ("thoughts", {"thoughts": {"name": "pause"}}),
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused_by_its_key(key, sections):
    assert problem(**sections).startswith(f"{key}: ")
