"""The task shapes: rows and picture files follow from the settings alone, and no scene is in two splits."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from PIL import Image
from pydantic import ValidationError

from unspoken.data.tokenizer import word_tokenizer
from unspoken.errors import DataError
from unspoken.records import Ledger, Score
from unspoken.tasks.shapes import Shapes
from unspoken.tasks.shapes_arrows import turned
from unspoken.tasks.shapes_picture import draw, png
from unspoken.tasks.shapes_scene import ARROWS, RELATIONS, Scene

ROWS = {"train_rows": 40, "validation_rows": 8, "test_rows": 16}
SPLITS = ("train", "validation", "test")


@pytest.fixture
def task(tmp_path):
    return Shapes(folder=tmp_path, **ROWS)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_row_is_its_question_with_steps_answer_and_picture(task):
    examples, ledger = task.examples("test")
    assert ledger == Ledger(rows_in=16, rows_kept=16)
    for number, example in enumerate(examples, 1):
        question = task.question("test", number)
        assert example.id == f"shapes/test/{number}"
        assert (example.question, example.steps, example.answer) == (question.text, question.steps, question.answer)
        assert example.frontiers == tuple(tuple(thing.name.split()) for thing in question.walk)
        assert example.images == (str(task.pictures("test") / f"{number}.png"),)
        assert Path(example.images[0]).read_bytes() == png(draw(question.scene, 64))


def test_the_steps_lead_from_the_named_object_to_the_answer(task):
    for example in task.examples("train")[0]:
        ends = [step.partition(" is the ")[2] for step in example.steps]
        starts = [step.partition(" is the ")[0].rpartition(" the ")[2] for step in example.steps]
        assert starts == [example.question.partition("?")[0].rpartition(" the ")[2], *ends[:-1]]
        assert example.answer in ends[-1].split()


def test_a_row_is_the_same_on_every_machine_and_version_of_python(task):
    question = task.question("test", 1)
    assert question.text == (
        "What shape is the thing left of the thing below the thing right of the blue triangle? "
        "The choices are 0 : square, 1 : star, 2 : cross, 3 : diamond"
    )
    assert question.steps == (
        "right of the blue triangle is the orange circle",
        "below the orange circle is the green cross",
        "left of the green cross is the red square",
    )


def test_pictures_of_equal_settings_are_the_same_bytes_wherever_they_lie(tmp_path):
    for name in ("a", "b"):
        Shapes(folder=tmp_path / name, **ROWS).examples("validation")
    assert len(files(tmp_path / "a")) == 8
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_files_that_exist_are_kept_and_missing_ones_are_written(task):
    task.examples("validation")
    before = files(task.folder)
    kept, missing = (task.pictures("validation") / name for name in ("3.png", "5.png"))
    kept.write_bytes(b"kept")
    missing.unlink()
    task.examples("validation")
    assert files(task.folder) == {**before, kept.relative_to(task.folder): b"kept"}


def test_a_row_depends_on_nothing_but_settings_split_and_number(task):
    more = Shapes(folder=task.folder, train_rows=60, validation_rows=50, test_rows=20)
    assert more.examples("train")[0][:40] == task.examples("train")[0]
    assert more.examples("test")[0][:16] == task.examples("test")[0]


def test_other_settings_of_a_picture_have_another_folder():
    here = Shapes().pictures("train")
    assert here.parts[:2] == ("data", "shapes")
    assert here.name == "train"
    assert Shapes(train_rows=3, test_rows=5, validation_rows=7).pictures("train") == here
    changes = [{"seed": 1}, {"grid": 5}, {"image_size": 96}, {"hops": 2}, {"max_objects": 9}, {"ask": ("colour",)}]
    folders = {here, *(Shapes(**change).pictures("train") for change in [*changes, {"follow": "arrows"}])}
    assert len(folders) == 8
    assert Shapes(about="scene").pictures("train") == here


def test_no_scene_is_in_two_splits_and_another_seed_has_others():
    scenes = {split: {Shapes().question(split, number).scene for number in range(1, 301)} for split in SPLITS}
    scenes["other"] = {Shapes(seed=1).question("train", number).scene for number in range(1, 301)}
    assert len(set().union(*scenes.values())) == 1200


def test_the_right_choice_stands_equally_often_in_each_place():
    questions = [Shapes().question("train", number) for number in range(1, 401)]
    assert Counter(question.choices.index(question.answer) for question in questions) == dict.fromkeys(range(4), 100)
    assert Shapes().chance == 0.25
    # sigma of 400 tosses is 10
    assert Counter(question.attribute for question in questions)["shape"] == pytest.approx(200, abs=35)
    assert {len(question.scene.things) for question in questions} == {7, 8, 9, 10}


def test_sizes_can_be_asked_for(tmp_path):
    task = Shapes(folder=tmp_path, ask=("size",), choices=2, **ROWS)
    assert task.chance == 0.5
    for number, example in enumerate(task.examples("train")[0], 1):
        assert example.question.startswith("What size is the thing ")
        assert example.question.endswith(("0 : small, 1 : large", "0 : large, 1 : small"))
        assert example.answer == task.question("train", number).walk[-1].kind.size


def test_the_picture_has_the_size_that_is_asked_for(tmp_path):
    task = Shapes(folder=tmp_path, image_size=96, **ROWS)
    with Image.open(task.examples("validation")[0][0].images[0]) as image:
        assert (image.format, image.size) == ("PNG", (96, 96))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hops": 5, "min_objects": 9},
        {"ask": ("size",), "choices": 2},
        {"hops": 1, "choices": 6},
        {"follow": "arrows", "hops": 5, "min_objects": 9},
        {"follow": "arrows", "about": "scene"},
    ],
)
def test_every_word_is_in_the_vocabulary_and_the_longest_row_fits_the_answer(tmp_path, settings):
    task = Shapes(folder=tmp_path, **ROWS, **settings)
    tokenizer = word_tokenizer(task.words())
    for example in task.examples("train")[0]:
        output = "".join(step + task.text.step_end for step in example.steps) + task.text.answer_start + example.answer
        for text in (example.question + task.text.question_end, output):
            ids = tokenizer(text)["input_ids"]
            assert tokenizer.unk_token_id not in ids
            assert "".join(tokenizer.decode(ids).split()) == "".join(text.split())
        assert len(tokenizer(output)["input_ids"]) + 1 <= task.max_new_tokens
        assert all(tokenizer.convert_tokens_to_ids(word) > 5 for words in example.frontiers for word in words)


def test_every_word_of_the_vocabulary_is_used():
    used = set()
    variants = (Shapes(), Shapes(ask=("size",), choices=2), Shapes(hops=1, choices=6))
    for task in variants:
        for number in range(1, 61):
            question = task.question("train", number)
            used |= set(word_tokenizer(task.words()).tokenize("\n".join([question.text, *question.steps, "### small"])))
    for number in range(1, 61):
        question = Shapes(follow="arrows").question("train", number)
        used |= set(word_tokenizer(Shapes().words()).tokenize("\n".join([question.text, *question.steps])))
    used |= {"arrow"}  # of questions of one hop
    used |= {"in", "picture", "nothing", "to"}  # of the question about the whole scene
    assert used == set(Shapes().words())


def test_only_the_right_word_after_the_last_marker_is_right(task):
    example = next(each for each in task.examples("train")[0] if "colour" in each.question)
    wrong = next(word for word in ("red", "blue") if word != example.answer)
    assert task.score(example, f"{example.steps[0]}\n### {example.answer}") == Score("right", example.answer)
    assert task.score(example, f"### {wrong} ### {example.answer}\n").verdict == "right"
    assert task.score(example, f"### {wrong}") == Score("wrong", wrong)
    assert task.score(example, "### elephant") == Score("wrong", "elephant")
    assert task.score(example, f"### {example.answer} {wrong}").verdict == "wrong"
    assert task.score(example, example.answer) == Score("no answer", None)
    assert task.score(example, "### ") == Score("no answer", None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_objects": 17}, "17 objects do not fit: a grid of 4 x 4 has 16 cells.*at most 16 or raise grid"),
        (
            {"grid": 7, "image_size": 84, "max_objects": 37},
            "36 pairs of colour and shape; set max_objects to at most 36",
        ),
        ({"min_objects": 11}, "min_objects is 11, max_objects 10; exchange them"),
        ({"hops": 4}, "4 choices and 4 hops need 8 objects, min_objects is 7; raise it to 8"),
        ({"choices": 7, "min_objects": 10}, "7 choices are offered, colour has only 6 values; lower choices"),
        ({"ask": ("colour", "size")}, "size has only 2 values; lower choices or take size out of ask"),
        ({"ask": ("colour", "colour")}, "ask holds colour, colour; name each attribute once"),
        ({"ask": ()}, "at least 1 item"),
        ({"ask": ("weight",)}, "colour.*shape.*size"),
        ({"image_size": 47}, "47 pixels leave 11.8 for a cell, shapes need 12; set image_size to at least 48"),
        ({"hops": 6, "min_objects": 10}, "less than or equal to 5"),
        ({"choices": 1}, "greater than or equal to 2"),
    ],
)
def test_impossible_settings_are_refused_with_what_to_do(settings, message):
    with pytest.raises(ValidationError, match=message):
        Shapes(**settings)


def test_walks_that_are_not_found_are_an_error_that_says_what_to_do(tmp_path):
    task = Shapes(folder=tmp_path, grid=32, image_size=384, hops=5, min_objects=9)
    with pytest.raises(DataError, match="lower hops or grid, or raise min_objects"):
        task.examples("test")


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError, match=r"1\.png cannot be written: .*; give another task\.folder"):
        Shapes(folder=tmp_path / "taken", **ROWS).examples("test")


def test_shifts_ask_for_fewer_and_more_hops_among_as_many_objects():
    shifts = Shapes().shifts()
    assert {name: (each.hops, each.min_objects, each.max_objects) for name, each in shifts.items()} == {
        "2 hops": (2, 7, 10),
        "4 hops": (4, 8, 10),
        "5 hops": (5, 9, 10),
    }
    assert list(Shapes(hops=5, min_objects=9).shifts()) == ["4 hops"]
    assert list(Shapes(max_objects=7).shifts()) == ["2 hops"]


def test_a_question_about_the_scene_is_answered_by_what_stands_in_each_cell(tmp_path):
    task = Shapes(about="scene", folder=tmp_path, grid=4, test_rows=5, train_rows=2, validation_rows=2)
    walks = Shapes(folder=tmp_path, grid=4, test_rows=5, train_rows=2, validation_rows=2)
    for number, (row, walk) in enumerate(zip(task.examples("test")[0], walks.examples("test")[0], strict=True), 1):
        things = {thing.cell: thing.name for thing in task.question("test", number).scene.things}
        told = row.answer.split(", ")
        assert len(told) == 16
        for index, name in enumerate(told):
            assert name == things.get(divmod(index, 4), "nothing")
        assert row.images == walk.images  # both questions are about the same pictures
        assert task.score(row, f"### {row.answer}").verdict == "right"
        assert set(row.answer.replace(",", "").split()) <= set(task.words())


# ---- arrows


@pytest.fixture
def arrows(tmp_path):
    return Shapes(folder=tmp_path, follow="arrows", **ROWS)


def test_a_row_about_arrows_names_none_of_them_and_its_picture_shows_them_all(arrows):
    for number, example in enumerate(arrows.examples("test")[0], 1):
        question = arrows.question("test", number)
        assert example.question == (
            f"What {question.attribute} is the thing 3 arrows from the {question.anchor.name}? "
            f"The choices are {', '.join(f'{n} : {choice}' for n, choice in enumerate(question.choices))}"
        )
        assert example.answer == getattr(question.walk[-1].kind, question.attribute)
        assert (example.steps, example.choices) == (question.steps, question.choices)
        assert Path(example.images[0]).read_bytes() == png(draw(question.scene, 64))
        bare = Scene(4, tuple(replace(thing, arrow=None) for thing in question.scene.things))
        assert Path(example.images[0]).read_bytes() != png(draw(bare, 64))


def test_the_scene_tells_what_each_arrow_points_at(tmp_path):
    task = Shapes(about="scene", follow="arrows", folder=tmp_path, **ROWS)
    for number, row in enumerate(task.examples("test")[0], 1):
        things = {thing.cell: thing for thing in task.question("test", number).scene.things}
        told = row.answer.split(", ")
        assert len(told) == 16
        for index, text in enumerate(told):
            thing = things.get(divmod(index, 4))
            if thing is None:
                assert text == "nothing"
                continue
            down, right = RELATIONS[ARROWS[thing.arrow]]
            ahead = [(thing.cell[0] + count * down, thing.cell[1] + count * right) for count in range(1, 4)]
            there = next(things[cell] for cell in ahead if cell in things)
            assert text == f"{thing.name} to {there.name}"
        assert len(word_tokenizer(task.words())(row.answer)["input_ids"]) + 3 <= task.max_new_tokens


def test_a_counterfactual_turns_one_arrow_and_another_choice_is_right(arrows):
    examples = arrows.examples("test")[0]
    changed = [arrows.counterfactual(example, Random(example.id)) for example in examples]
    pairs = [(old, new) for old, new in zip(examples, changed, strict=True) if new is not None]
    assert len(pairs) >= 4
    for old, new in pairs:
        number = int(old.id.rpartition("/")[2])
        (turn,) = {
            (index, question.scene.things[index].arrow)
            for question in turned(arrows.question("test", number))
            if question.answer == new.answer and question.steps == new.steps
            for index, thing in enumerate(arrows.question("test", number).scene.things)
            if question.scene.things[index].arrow != thing.arrow
        }
        things = list(arrows.question("test", number).scene.things)
        things[turn[0]] = replace(things[turn[0]], arrow=turn[1])
        assert Path(new.images[0]).read_bytes() == png(draw(Scene(4, tuple(things)), 64))
        assert (new.question, new.choices, new.id) == (old.question, old.choices, f"{old.id}/changed")
        assert new.answer in set(old.choices) - {old.answer}
        assert Path(old.images[0]).read_bytes() == png(draw(arrows.question("test", number).scene, 64))
    assert arrows.examples("test")[0] == examples


def test_a_counterfactual_is_the_same_for_equal_chance(arrows):
    examples = arrows.examples("test")[0]
    first, again = ([arrows.counterfactual(each, Random(each.id)) for each in examples] for _ in range(2))
    assert first == again


def test_questions_in_relations_about_scenes_and_of_other_files_have_no_counterfactual(task, arrows):
    example = task.examples("test")[0][0]
    assert task.counterfactual(example, Random(0)) is None
    scene = Shapes(**{**arrows.model_dump(), "about": "scene"})
    assert scene.counterfactual(scene.examples("test")[0][0], Random(0)) is None
    other = replace(arrows.examples("test")[0][0], id="rows/1")
    assert arrows.counterfactual(other, Random(0)) is None
