"""Scenes and questions: the oracle is right, and nothing short of the walk tells the answer."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from unspoken.errors import DataError
from unspoken.evaluation.statistics import wilson
from unspoken.tasks.shapes_scene import (
    COLOURS,
    RELATIONS,
    SHAPES,
    SIZES,
    Kind,
    Question,
    Scene,
    Thing,
    draw_question,
    neighbour,
    split_of,
)

DEFAULTS = {"grid": 4, "objects": 8, "hops": 3, "attribute": "colour", "choices": 4, "position": 0}
OTHERS = [
    {},
    {"attribute": "shape", "position": 3},
    {"attribute": "size", "choices": 2, "position": 1},
    {"hops": 1, "objects": 5},
    {"hops": 5, "objects": 16, "choices": 6},
    {"grid": 6, "objects": 36, "hops": 2},
    {"grid": 2, "objects": 4, "hops": 2, "choices": 2},
]

# red circle    .             blue square
# .             green star    .
# red square    .             blue star
CIRCLE = Thing(Kind("red", "circle", "large"), (0, 0))
BLUE = Thing(Kind("blue", "square", "small"), (0, 2))
STAR = Thing(Kind("green", "star", "large"), (1, 1))
SQUARE = Thing(Kind("red", "square", "small"), (2, 0))
LAST = Thing(Kind("blue", "star", "small"), (2, 2))
SCENE = Scene(3, (CIRCLE, BLUE, STAR, SQUARE, LAST))
QUESTION = Question(SCENE, CIRCLE, ("below", "right of"), "colour", ("green", "blue", "red"))


def drawn(count, **settings):
    settings = DEFAULTS | settings
    return [draw_question(Random(f"drawn/{number}"), **settings) for number in range(count)]


def nearest(scene, cell, relation):
    """The oracle once more, by sorting all objects of the row or column."""
    row, column = cell
    sides = {
        "left of": [(column - c, t) for t in scene.things for r, c in [t.cell] if r == row and c < column],
        "right of": [(c - column, t) for t in scene.things for r, c in [t.cell] if r == row and c > column],
        "above": [(row - r, t) for t in scene.things for r, c in [t.cell] if c == column and r < row],
        "below": [(r - row, t) for t in scene.things for r, c in [t.cell] if c == column and r > row],
    }
    return min(sides[relation], key=lambda pair: pair[0])[1]


def test_a_relation_leads_to_the_nearest_object_in_the_same_row_or_column():
    assert neighbour(SCENE, CIRCLE, "right of") == BLUE
    assert neighbour(SCENE, CIRCLE, "below") == SQUARE
    assert neighbour(SCENE, LAST, "left of") == SQUARE
    between = Scene(3, (*SCENE.things, Thing(Kind("orange", "cross", "small"), (2, 1))))
    assert neighbour(between, LAST, "left of").name == "orange cross"


def test_a_relation_that_leads_nowhere_is_an_error_that_names_it():
    with pytest.raises(DataError, match="nothing is above the red circle"):
        neighbour(SCENE, CIRCLE, "above")
    with pytest.raises(DataError, match="nothing is left of the green star"):
        neighbour(SCENE, STAR, "left of")


def test_a_question_reads_from_the_last_hop_to_the_first_and_its_steps_from_the_first_to_the_last():
    assert QUESTION.text == (
        "What colour is the thing right of the thing below the red circle? The choices are 0 : green, 1 : blue, 2 : red"
    )
    assert QUESTION.steps == ("below the red circle is the red square", "right of the red square is the blue star")
    assert QUESTION.walk == (SQUARE, LAST)
    assert QUESTION.answer == "blue"
    assert replace(QUESTION, attribute="shape").answer == "star"
    assert replace(QUESTION, attribute="size").answer == "small"


@pytest.mark.parametrize("settings", OTHERS)
def test_following_the_words_of_a_question_gives_its_steps_and_its_answer(settings):
    hops = (DEFAULTS | settings)["hops"]
    for question in drawn(100, **settings):
        match = re.fullmatch(r"What (\w+) is ((?:the thing [a-z ]+)*)the (\w+ \w+)\? The choices are .+", question.text)
        attribute, relations, name = match.groups()
        (thing,) = [thing for thing in question.scene.things if thing.name == name]
        steps = []
        for relation in reversed(relations.removesuffix(" ").removeprefix("the thing ").split(" the thing ")):
            there = nearest(question.scene, thing.cell, relation)
            steps.append(f"{relation} the {thing.name} is the {there.name}")
            thing = there
        assert question.steps == tuple(steps)
        assert len(steps) == hops
        assert question.answer == getattr(thing.kind, attribute)


@pytest.mark.parametrize("settings", OTHERS)
def test_a_walk_visits_no_object_twice_and_no_relation_undoes_the_one_before(settings):
    back = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for question in drawn(100, **settings):
        visited = [question.anchor.cell, *(thing.cell for thing in question.walk)]
        assert len(set(visited)) == len(visited)
        assert not any(back[before] == after for before, after in pairwise(question.relations))


@pytest.mark.parametrize("settings", OTHERS)
def test_objects_stand_in_their_own_cells_and_no_two_share_colour_and_shape(settings):
    expected = DEFAULTS | settings
    for question in drawn(50, **settings):
        things = question.scene.things
        assert len(things) == len({thing.cell for thing in things}) == len({thing.name for thing in things})
        assert len(things) == expected["objects"]
        assert all(0 <= place < expected["grid"] for thing in things for place in thing.cell)
        assert all(-1 <= place <= 1 for thing in things for place in thing.shift)
        assert [thing.cell for thing in things] == sorted(thing.cell for thing in things)


@pytest.mark.parametrize("settings", OTHERS)
def test_the_choices_are_different_values_of_objects_besides_the_anchor_with_the_answer_in_its_place(settings):
    expected = DEFAULTS | settings
    for question in drawn(100, **settings):
        others = [thing for thing in question.scene.things if thing != question.anchor]
        assert len(set(question.choices)) == len(question.choices) == expected["choices"]
        assert set(question.choices) <= {getattr(thing.kind, question.attribute) for thing in others}
        assert question.choices[expected["position"]] == question.answer


def test_all_colours_shapes_sizes_and_relations_occur():
    questions = drawn(200)
    kinds = {thing.kind for question in questions for thing in question.scene.things}
    assert {kind.colour for kind in kinds} == set(COLOURS) == {question.answer for question in questions}
    assert {kind.shape for kind in kinds} == set(SHAPES)
    assert {kind.size for kind in kinds} == set(SIZES)
    assert {relation for question in questions for relation in question.relations} == set(RELATIONS)


# what a guesser that does not follow the walk might go by


def values(question):
    return [getattr(thing.kind, question.attribute) for thing in question.scene.things]


def offered(question, things):
    """The first object whose value is offered, else the first choice."""
    found = [getattr(thing.kind, question.attribute) for thing in things]
    return next((value for value in found if value in question.choices), question.choices[0])


def around(question, place):
    """All objects but the anchor, the nearest to a place first."""
    things = [thing for thing in question.scene.things if thing != question.anchor]
    return sorted(things, key=lambda thing: sum((a - b) ** 2 for a, b in zip(thing.cell, place, strict=True)))


def pointed(question):
    """Where the walk would end if every hop were one cell long."""
    steps = [RELATIONS[relation] for relation in question.relations]
    return tuple(
        start + sum(moves) for start, moves in zip(question.anchor.cell, zip(*steps, strict=True), strict=True)
    )


AT_CHANCE = {
    "first choice": lambda q: q.choices[0],
    "most frequent in the scene": lambda q: max(q.choices, key=values(q).count),
    "least frequent in the scene": lambda q: min(q.choices, key=values(q).count),
    "value of the named object": lambda q: offered(q, [q.anchor]),
    "object after one hop": lambda q: offered(q, q.walk[:1]),
    "object before the last hop": lambda q: offered(q, q.walk[-2:-1]),
    "most frequent off the walk so far": lambda q: max(
        q.choices, key=(Counter(values(q)) - Counter(getattr(t.kind, q.attribute) for t in q.walk[:-1])).__getitem__
    ),
    "object to which the relations point": lambda q: offered(q, around(q, pointed(q))),
    "farthest object": lambda q: offered(q, around(q, q.anchor.cell)[::-1]),
}
NEVER_BETTER = {
    "nearest object": lambda q: offered(q, around(q, q.anchor.cell)[:1]),
    "nearest object that is offered": lambda q: offered(q, around(q, q.anchor.cell)),
}


@pytest.fixture(scope="module")
def questions():
    """2,000 questions as the task draws them by default."""
    return [
        draw_question(
            Random(f"guess/{number}"),
            grid=4,
            objects=7 + number % 4,
            hops=3,
            attribute=("colour", "shape")[number // 4 % 2],
            choices=4,
            position=number // 8 % 4,
        )
        for number in range(2000)
    ]


def interval_of(guess, questions):
    return wilson(sum(guess(question) == question.answer for question in questions), len(questions), confidence=0.99)


@pytest.mark.parametrize("name", AT_CHANCE)
def test_a_guess_without_the_walk_stays_at_chance(name, questions):
    low, high = interval_of(AT_CHANCE[name], questions)
    assert low <= 0.25 <= high


@pytest.mark.parametrize("name", NEVER_BETTER)
def test_the_nearest_object_is_no_better_guess_than_any_choice(name, questions):
    low, _ = interval_of(NEVER_BETTER[name], questions)
    assert low <= 0.25


def test_following_the_walk_is_always_right_so_that_the_guessers_could_have_been(questions):
    assert (
        interval_of(lambda q: getattr(nearest(q.scene, q.walk[-2].cell, q.relations[-1]).kind, q.attribute), questions)[
            0
        ]
        > 0.99
    )


def test_the_words_of_earlier_questions_do_not_tell_the_answer_of_later_ones(questions):
    def signs(question, choice):
        return [(choice, word) for word in (question.anchor.name, *question.relations, *question.choices)]

    right, seen = Counter(), Counter()
    for question in questions[:1000]:
        for choice in question.choices:
            seen.update(signs(question, choice))
            right.update(signs(question, choice) if choice == question.answer else [])

    def likely(question):
        return max(
            question.choices,
            key=lambda choice: sum((right[sign] + 1) / (seen[sign] + 4) for sign in signs(question, choice)),
        )

    low, high = interval_of(likely, questions[1000:])
    assert low <= 0.25 <= high


def test_settings_that_allow_only_one_kind_of_walk_still_have_questions():
    # on two by two cells every walk of two hops ends in the opposite corner
    for question in drawn(5, grid=2, objects=4, hops=2, choices=2):
        assert all(a != b for a, b in zip(question.anchor.cell, question.walk[-1].cell, strict=True))


def test_too_few_objects_on_too_large_a_grid_are_an_error_that_says_so():
    with pytest.raises(DataError, match=r"no walk of 5 hops among 7 objects on a grid of 32 x 32.*raise min_objects"):
        draw_question(Random("sparse"), **DEFAULTS | {"grid": 32, "objects": 7, "hops": 5, "choices": 2})


def test_a_scene_belongs_to_one_split_whatever_the_shift_of_its_objects():
    moved = Scene(3, tuple(replace(thing, shift=(0.5, -0.5)) for thing in SCENE.things))
    assert moved == SCENE
    assert split_of(moved) == split_of(SCENE)


def test_of_eight_scenes_one_is_for_test_and_one_for_validation(questions):
    shares = Counter(split_of(question.scene) for question in questions)
    # sigma of a share of 1/8 of 2,000 is 15
    assert shares["test"] == pytest.approx(250, abs=45)
    assert shares["validation"] == pytest.approx(250, abs=45)
    assert sum(shares.values()) == 2000


def test_a_question_is_the_same_on_every_machine_and_version_of_python():
    question = drawn(1)[0]
    assert question.text.startswith(
        "What colour is the thing below the thing left of the thing above the yellow cross?"
    )
    assert question.text.endswith("The choices are 0 : blue, 1 : orange, 2 : green, 3 : red")
    assert [f"{thing.name} {thing.cell}" for thing in question.scene.things] == [
        "orange diamond (0, 1)",
        "yellow diamond (2, 0)",
        "purple triangle (2, 2)",
        "purple star (2, 3)",
        "blue square (3, 0)",
        "red square (3, 1)",
        "yellow cross (3, 2)",
        "green triangle (3, 3)",
    ]
    assert [round(place, 9) for place in question.anchor.shift] == [0.448271002, -0.987879686]
