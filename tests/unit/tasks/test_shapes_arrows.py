"""Questions that follow arrows: the oracle is right, and no single look at the arrows tells the answer."""

import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from unspoken.errors import DataError
from unspoken.evaluation.statistics import wilson
from unspoken.tasks.shapes_arrows import ArrowQuestion, draw_arrow_question, turned
from unspoken.tasks.shapes_scene import ARROWS, RELATIONS, Kind, Scene, Thing, split_of

DEFAULTS = {"grid": 3, "objects": 9, "hops": 4, "attribute": "colour", "choices": 4, "position": 0}
OTHERS = [
    {},
    {"objects": 8, "position": 3},
    {"attribute": "size", "choices": 2, "position": 1},
    {"hops": 1, "objects": 5, "attribute": "shape"},
    {"grid": 4, "hops": 5, "objects": 16, "choices": 6},
    {"grid": 6, "objects": 30, "hops": 2},
]

# red circle >   .             blue square v
# .              green star >  orange cross <
# red square ^   .             blue star ^
CIRCLE = Thing(Kind("red", "circle", "large"), (0, 0), arrow="right")
BLUE = Thing(Kind("blue", "square", "small"), (0, 2), arrow="down")
STAR = Thing(Kind("green", "star", "large"), (1, 1), arrow="right")
CROSS = Thing(Kind("orange", "cross", "large"), (1, 2), arrow="left")
SQUARE = Thing(Kind("red", "square", "small"), (2, 0), arrow="up")
LAST = Thing(Kind("blue", "star", "small"), (2, 2), arrow="up")
SCENE = Scene(3, (CIRCLE, BLUE, STAR, CROSS, SQUARE, LAST))
QUESTION = ArrowQuestion(
    SCENE, CIRCLE, ("right of", "below", "left of"), "colour", ("green", "orange", "blue", "purple")
)


def drawn(count, **settings):
    settings = DEFAULTS | settings
    return [draw_arrow_question(Random(f"drawn/{number}"), **settings) for number in range(count)]


def pointed_at(scene, thing):
    """The oracle once more: the object on the way of an arrow, cell by cell."""
    at = {other.cell: other for other in scene.things}
    down, right = RELATIONS[ARROWS[thing.arrow]]
    ahead = [(thing.cell[0] + count * down, thing.cell[1] + count * right) for count in range(1, scene.grid)]
    return next(at[cell] for cell in ahead if cell in at)


def test_a_question_says_how_often_and_its_steps_where_each_arrow_leads():
    assert QUESTION.text == (
        "What colour is the thing 3 arrows from the red circle? "
        "The choices are 0 : green, 1 : orange, 2 : blue, 3 : purple"
    )
    assert replace(QUESTION, relations=("right of",)).text.startswith("What colour is the thing 1 arrow from the red")
    assert QUESTION.steps == ("blue square", "orange cross", "green star")
    assert QUESTION.walk == (BLUE, CROSS, STAR)
    assert QUESTION.answer == "green"


@pytest.mark.parametrize("settings", OTHERS)
def test_following_the_arrows_of_a_scene_gives_the_steps_and_the_answer(settings):
    expected = DEFAULTS | settings
    for question in drawn(60, **settings):
        times, name = re.match(r"What \w+ is the thing (\d) arrows? from the (\w+ \w+)\?", question.text).groups()
        assert int(times) == expected["hops"]
        (thing,) = [thing for thing in question.scene.things if thing.name == name]
        names, steps = {name}, []
        for _ in range(int(times)):
            there = pointed_at(question.scene, thing)
            steps.append(there.name)
            names.add(there.name)
            thing = there
        assert question.steps == tuple(steps)
        assert len(names) == expected["hops"] + 1
        assert question.answer == getattr(thing.kind, question.attribute)
        assert question.choices[expected["position"]] == question.answer


@pytest.mark.parametrize("settings", OTHERS)
def test_each_object_that_is_offered_off_the_walk_is_pointed_at_by_just_one_arrow(settings):
    for question in drawn(60, **settings):
        assert len(question.scene.things) == (DEFAULTS | settings)["objects"]
        arrows = Counter(pointed_at(question.scene, thing).name for thing in question.scene.things)
        before = (question.anchor, *question.walk[:-1])
        for thing in question.scene.things:
            if thing not in before and getattr(thing.kind, question.attribute) in question.choices:
                assert arrows[thing.name] == 1


# what a guesser that does not follow the walk might go by


def offered(question, things):
    """The first object whose value is offered, else the first choice."""
    found = [getattr(thing.kind, question.attribute) for thing in things]
    return next((value for value in found if value in question.choices), question.choices[0])


def others(question):
    return [thing for thing in question.scene.things if thing != question.anchor]


def arrows_at(question):
    return Counter(pointed_at(question.scene, thing).name for thing in question.scene.things)


def ahead(question, thing, times):
    for _ in range(times):
        thing = pointed_at(question.scene, thing)
    return thing


GUESSES = {
    "first choice": lambda q: q.choices[0],
    "object after one hop": lambda q: offered(q, q.walk[:1]),
    "object before the last hop": lambda q: offered(q, q.walk[-2:-1]),
    "most pointed at": lambda q: offered(q, sorted(others(q), key=lambda thing: -arrows_at(q)[thing.name])),
    "least pointed at": lambda q: offered(q, sorted(others(q), key=lambda thing: arrows_at(q)[thing.name])),
    "pointing at an object that points back": lambda q: offered(
        q, sorted(others(q), key=lambda thing: ahead(q, thing, 2) != thing)
    ),
}


@pytest.fixture(scope="module")
def questions():
    """Questions as the recipes draw them."""
    return [
        draw_arrow_question(
            Random(f"guess/{number}"), **DEFAULTS | {"objects": 8 + number % 2, "position": number // 2 % 4}
        )
        for number in range(1200)
    ]


@pytest.mark.parametrize("name", GUESSES)
def test_a_guess_without_the_walk_is_no_better_than_chance(name, questions):
    right = sum(GUESSES[name](question) == question.answer for question in questions)
    assert wilson(right, len(questions), confidence=0.99)[0] <= 0.25


def test_following_the_walk_is_always_right_so_that_the_guessers_could_have_been(questions):
    assert all(ahead(q, q.anchor, 4).kind.colour == q.answer for q in questions)


def test_turning_an_arrow_of_the_walk_gives_another_choice():
    # turned down, the arrow of the circle leads to a square that points back; the one of the cross may lead down
    (found,) = turned(QUESTION)
    assert found.scene == Scene(3, (CIRCLE, BLUE, STAR, replace(CROSS, arrow="down"), SQUARE, LAST))
    assert found.steps == ("blue square", "orange cross", "blue star")
    assert (found.answer, found.text) == ("blue", QUESTION.text)
    assert list(turned(replace(QUESTION, choices=("green", "orange", "purple")))) == []


@pytest.mark.parametrize("settings", OTHERS)
def test_every_turned_question_differs_in_one_arrow_of_the_walk_and_is_right_by_the_oracle(settings):
    count = 0
    for question in drawn(30, **settings):
        for changed in turned(question):
            count += 1
            differ = [old for old, new in zip(question.scene.things, changed.scene.things, strict=True) if old != new]
            assert len(differ) == 1
            assert differ[0] in (question.anchor, *question.walk[:-1])
            assert changed.text == question.text
            end = ahead(changed, changed.anchor, len(question.relations))
            assert changed.answer == getattr(end.kind, changed.attribute) != question.answer
            assert changed.answer in question.choices
    assert count >= 10


def test_a_scene_with_another_arrow_is_another_scene():
    scenes = [Scene(3, (replace(CIRCLE, arrow=arrow), *SCENE.things[1:])) for arrow in (*ARROWS, None)]
    assert len(set(scenes)) == 5
    many = [
        Scene(3, (replace(CIRCLE, arrow=arrow), *question.scene.things)) for question in drawn(40) for arrow in ARROWS
    ]
    splits = [split_of(scene) for scene in many]
    assert any(len(set(splits[start : start + 4])) > 1 for start in range(0, len(splits), 4))


def test_too_few_objects_on_too_large_a_grid_are_an_error_that_says_so():
    with pytest.raises(DataError, match=r"5 objects on a grid of 20 x 20.*lower grid or raise min_objects"):
        draw_arrow_question(Random("sparse"), **DEFAULTS | {"grid": 20, "objects": 5, "hops": 1})


def test_a_question_is_the_same_on_every_machine_and_version_of_python():
    question = drawn(1)[0]
    assert question.text == (
        "What colour is the thing 4 arrows from the orange square? "
        "The choices are 0 : purple, 1 : green, 2 : blue, 3 : yellow"
    )
    assert question.steps == (
        "red diamond",
        "blue triangle",
        "purple circle",
        "purple cross",
    )
    assert "".join(thing.arrow[0] for thing in question.scene.things) == "dlldrlurl"
