"""What both tasks that tell stories share: what a row shows of each frame, and how its captions are read back."""

from random import Random

import pytest
from tests.unit.tasks.test_stories import row, task_on

from unspoken.errors import RecipeError
from unspoken.files import read_json_lines
from unspoken.recipe import resolve
from unspoken.records import Example
from unspoken.tasks.hops import Hops
from unspoken.tasks.stories_text import captions_told, story_so_far
from unspoken.tasks.toy_stories import METADATA, ToyStories

ROWS = {"train_rows": 3, "validation_rows": 1, "test_rows": 1}
CONTEXTS = ("images and words", "images", "words")
PLACES = "1:\n2:\n3:\n4:\nNEXT:"


def in_every_context(make):
    return {context: make(context).examples("train")[0] for context in CONTEXTS}


@pytest.fixture
def toys(tmp_path):
    return in_every_context(lambda context: ToyStories(folder=tmp_path, context=context, **ROWS))


@pytest.fixture
def films(tmp_path):
    rows = [row(number, frames=6) for number in range(12)]
    settings = {"windows": "all", "context_words": 3}
    made = {}
    for context in CONTEXTS:
        (tmp_path / context).mkdir()
        made[context] = task_on(tmp_path / context, rows, context=context, **settings)
    return {context: task.examples("train")[0] for context, task in made.items()}


@pytest.mark.parametrize("name", ["toys", "films"])
def test_images_alone_keep_the_places_of_the_captions_and_words_alone_the_captions(name, request):
    rows = request.getfixturevalue(name)
    for both, images, words in zip(*(rows[context] for context in CONTEXTS), strict=True):
        first = int(both.question.partition(":")[0])
        assert captions_told(both.question) == both.captions
        assert all(both.captions)
        assert len(both.captions) == len(both.images) == 4
        # nothing of the words is left, also not where something may read them from the images
        assert images.question == "\n".join([f"{place}:" for place in range(first, first + 4)] + ["NEXT:"])
        assert (images.images, images.captions) == (both.images, ("",) * 4)
        assert (words.images, words.captions) == ((), both.captions)
        assert words.question == both.question
        for changed in (images, words):
            kept = ("id", "steps", "answer", "next_image")
            assert [getattr(changed, field) for field in kept] == [getattr(both, field) for field in kept]
        assert both.next_image


def test_whether_rows_name_images(tmp_path):
    for context in CONTEXTS:
        assert ToyStories(context=context).has_images == (context != "words")
        assert ToyStories(context=context).is_caption
    assert not ToyStories(about="frame").is_caption


@pytest.mark.parametrize("name", ["toys", "films"])
def test_the_last_caption_that_is_shown_can_be_copied(name, request):
    rows, task = request.getfixturevalue(name), ToyStories()
    for both, images, words in zip(*(rows[context] for context in CONTEXTS), strict=True):
        assert both.question.split("\n")[-2].endswith(f": {task.previous_caption(both)}")
        assert task.previous_caption(words) == task.previous_caption(both)
        assert task.previous_caption(images) is None
    assert Hops().previous_caption(Example("1", "a ? b", (), "c")) is None


def test_pictures_and_what_is_known_of_them_are_the_same_whatever_is_shown(tmp_path):
    described = []
    for context in CONTEXTS:
        task = ToyStories(folder=tmp_path / context, context=context, **ROWS)
        task.examples("train")
        described.append(read_json_lines(task.pictures("train") / METADATA))
    assert described[0] == described[1] == described[2]
    assert described[0][0]["images"] == [f"1-{frame}.png" for frame in range(1, 6)]
    assert len({ToyStories(context=context).pictures("train") for context in CONTEXTS}) == 1


def test_a_changed_wish_that_nobody_can_see_is_no_counterfactual(tmp_path):
    for context in CONTEXTS:
        task = ToyStories(folder=tmp_path, context=context, **ROWS)
        for example in task.examples("train")[0]:
            changed = task.counterfactual(example, Random(0))
            if context == "images":
                assert changed is None
            else:
                assert changed.question != example.question
                assert changed.images == example.images
                assert task.normalise(changed.answer) != task.normalise(example.answer)


@pytest.mark.parametrize(
    ("captions", "first", "question"),
    [
        (("A fox.", "", "A hen: 2: two."), 1, "1: A fox.\n2:\n3: A hen: 2: two.\nNEXT:"),
        (("",) * 4, 1, PLACES),
        (("A", "B"), 19, "19: A\n20: B\nNEXT:"),
        ((), 1, "NEXT:"),
    ],
)
def test_captions_are_read_back_from_the_question(captions, first, question):
    assert story_so_far(captions, first) == question
    assert captions_told(question) == captions


@pytest.mark.parametrize("question", ["", "a b ? a", "1: A fox.", "1: A fox.\nHens.\nNEXT:", "NEXT:\n1: A fox."])
def test_other_questions_tell_no_captions(question):
    assert captions_told(question) is None


def test_what_happens_is_known_as_far_as_it_is_said():
    facts = ToyStories().facts("At the blue house the red star finds the small green cross.")
    assert list(facts.items()) == [("who", "red star"), ("what", "small green cross"), ("where", "blue house")]
    assert ToyStories().facts("The red star and the blue star go to the red house.") == {"where": "red house"}
    assert ToyStories().facts("Nobody.") == {}
    assert Hops().facts("a") == {}


def test_a_recipe_of_words_alone_keeps_its_controls_when_its_eyes_are_taken_out(tmp_path):
    recipe = {
        "task": {"name": "toy_stories", "context": "words"},
        "model": {"vision": None},
        "method": {"name": "no_cot"},
        "evaluate": {"controls": ["no_image", "shuffled_images"]},
    }
    assert resolve(recipe, "test").evaluate.controls == ("no_image", "shuffled_images")
    with pytest.raises(RecipeError, match="no_image takes away what a model sees"):
        resolve({**recipe, "model": {}}, "test")
    eyes = {"layers": 1, "heads": 2, "width": 16, "train_encoder": True}
    with pytest.raises(RecipeError, match=r"model\.vision: the rows of task toy_stories name no images; take it out"):
        resolve({**recipe, "model": {"vision": eyes}}, "test")
