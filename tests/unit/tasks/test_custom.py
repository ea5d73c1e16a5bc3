"""A user's own rows are read as they are, and only an answer that some output could give is accepted as gold."""

import json

import pytest
from pydantic import ValidationError

from unspoken.errors import DataError
from unspoken.records import Example, Score, TextFormat
from unspoken.tasks.custom import Custom

ROW = {"question": "A farmer has 3 pens of 4 hens. How many hens?", "steps": ["3 * 4 = 12"], "answer": "12 hens"}


def write(folder, rows, name="rows.json"):
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


def test_rows_of_a_list_and_of_lines_become_the_same_examples(tmp_path):
    rows = [ROW, {"question": "And legs?", "steps": [], "answer": 24}]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    task = Custom(train=write(tmp_path, rows), test=lines)
    examples, ledger = task.examples("train")
    assert examples == (
        Example("custom/train/1", ROW["question"], ("3 * 4 = 12",), "12 hens"),
        Example("custom/train/2", "And legs?", (), "24"),
    )
    assert ledger.notes == ("1 row without steps: a curriculum has nothing to replace by thoughts there",)
    assert [(each.question, each.steps, each.answer) for each in task.examples("test")[0]] == [
        (each.question, each.steps, each.answer) for each in examples
    ]


def test_other_keys_and_images_are_noted(tmp_path):
    task = Custom(train=write(tmp_path, [{**ROW, "image": "hens.png", "level": 3}]))
    examples, ledger = task.examples("train")
    assert len(examples) == 1
    assert ledger.notes == (
        "1 row with the key 'image': images are not read by this task",
        "1 row with the key 'level': it is not read",
    )


def test_a_split_without_a_file_is_asked_for():
    with pytest.raises(DataError) as caught:
        Custom().examples("validation")
    assert str(caught.value) == "task custom has no validation file; set task.validation to the path of one"


def test_lines_of_text_are_rejected_row_by_row(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("question,steps,answer\n2+3?,none,5\n")
    with pytest.raises(DataError) as caught:
        Custom(train=path).examples("train")
    assert str(caught.value).splitlines() == [
        f"{path}: 2 of 2 rows rejected, 0 kept; mend them",
        "  row 1: the text 'question,steps,answer' stands for a row; write an object with question, steps and answer",
        "  row 2: the text '2+3?,none,5' stands for a row; write an object with question, steps and answer",
    ]


def test_up_to_max_bad_rows_are_left_out(tmp_path):
    path = write(tmp_path, [ROW, {**ROW, "answer": ""}, {**ROW, "steps": "a"}])
    examples, ledger = Custom(train=path, max_bad_rows=2).examples("train")
    assert [example.id for example in examples] == ["custom/train/1"]
    assert [rejection.row for rejection in ledger.rejected] == [2, 3]
    with pytest.raises(DataError, match=r"2 of 3 rows rejected, 1 kept; .* task.max_bad_rows=2"):
        Custom(train=path, max_bad_rows=1).examples("train")


@pytest.mark.parametrize(
    ("settings", "answer", "reason"),
    [
        ({}, ", ,", "answer is the text ', ,'; it must have a word and not hold '### '"),
        ({}, "a ### b", "answer is the text 'a ### b'; it must have a word and not hold '### '"),
        ({"scoring": "number"}, "twelve", "answer is the text 'twelve'; it must be a number"),
        ({"scoring": "number"}, "12 hens", "answer is the text '12 hens'; it must be a number"),
    ],
)
def test_a_gold_answer_that_no_output_could_give_is_rejected(tmp_path, settings, answer, reason):
    path = write(tmp_path, [ROW | {"answer": "1"}, ROW | {"answer": answer}])
    with pytest.raises(DataError) as caught:
        Custom(train=path, **settings).examples("train")
    assert str(caught.value).splitlines()[1:] == [f"  row 2: {reason}, else no output could be right"]


@pytest.mark.parametrize(
    ("scoring", "gold", "text", "score"),
    [
        ("exact", "12 hens", "3 * 4 = 12\n### 12 hens", Score("right", "12 hens")),
        ("exact", "12 hens", "### 12  hens ", Score("right", "12 hens")),
        ("exact", "1,200", "### 1200", Score("right", "1200")),
        ("exact", "12", "### 12.0", Score("wrong", "12.0")),
        ("exact", "12 hens", "### 12 Hens", Score("wrong", "12 Hens")),
        ("exact", "12 hens", "12 hens", Score("no answer", None)),
        ("exact", "12 hens", "###  ", Score("no answer", None)),
        ("exact", "12 hens", "### 12 hens ### 13 hens", Score("wrong", "13 hens")),
        ("number", "12", "### 12.0", Score("right", "12")),
        ("number", "0.5", "### 1/2\nand on", Score("right", "0.5")),
        ("number", "12", "### 12 hens", Score("no answer", None)),
        ("number", "12", "### 13", Score("wrong", "13")),
    ],
)
def test_outputs_are_scored_as_set(scoring, gold, text, score):
    assert Custom(scoring=scoring).score(Example("1", "q", (), gold), text) == score


def test_the_format_is_that_of_the_release_unless_set():
    assert Custom().text == TextFormat(question_end="\n", step_end="\n", answer_start="### ")
    mine = Custom(question_end=" = ", step_end="; ", answer_start="Answer: ", max_answer_tokens=7)
    assert mine.text == TextFormat(question_end=" = ", step_end="; ", answer_start="Answer: ")
    assert mine.max_new_tokens == 7
    assert Custom().max_new_tokens == 128
    assert mine.score(Example("1", "q", (), "5"), "so; Answer: 5") == Score("right", "5")


def test_an_empty_answer_start_takes_the_whole_text():
    assert Custom(answer_start="").score(Example("1", "q", (), "5"), " 5 ") == Score("right", "5")


@pytest.mark.parametrize(("step_end", "steps"), [("\n", "2 + 3 = 5\n"), ("; ", "1 + 1 = 2; 2 + 3 = 5; ")])
def test_with_an_empty_answer_start_the_answer_is_behind_the_last_step(step_end, steps):
    task = Custom(answer_start="", step_end=step_end)
    assert task.score(Example("1", "q", (), "5 hens"), f"{steps}5 hens") == Score("right", "5 hens")
    assert task.score(Example("1", "q", (), "5 hens"), "5 hens\n") == Score("right", "5 hens")


def test_an_answer_that_nothing_tells_from_its_steps_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="no answer could be told from its steps"):
        Custom(answer_start=" ", step_end=" ")
    path = write(tmp_path, [ROW, {**ROW, "answer": "a\nb"}])
    with pytest.raises(DataError, match=r"row 2: answer is .* not hold '\\n'"):
        Custom(train=path, answer_start="").examples("train")


def test_settings_are_strict():
    for wrong in ({"scoring": "fuzzy"}, {"max_bad_rows": -1}, {"max_answer_tokens": 0}, {"trian": "a.json"}):
        with pytest.raises(ValidationError):
            Custom(**wrong)


def test_rows_may_name_images_of_a_folder_one_or_several_or_none(tmp_path):
    rows = [{**ROW, "image": "hens.png"}, {**ROW, "image": ["a.png", "b.png"]}, ROW, {**ROW, "image": None}]
    task = Custom(train=write(tmp_path, rows), images=tmp_path)
    examples, ledger = task.examples("train")
    assert [example.images for example in examples] == [("hens.png",), ("a.png", "b.png"), (), ()]
    assert (task.has_images, task.image_root) == (True, tmp_path)
    assert not any("image" in note for note in ledger.notes)
    assert not Custom(train=task.train).has_images


@pytest.mark.parametrize("image", ["", 3, ["a.png", 4], {"path": "a.png"}])
def test_an_image_that_is_no_name_is_refused(tmp_path, image):
    task = Custom(train=write(tmp_path, [{**ROW, "image": image}]), images=tmp_path)
    with pytest.raises(DataError, match=r"row 1: image is .*; it must be the name of a file, or a list of such names"):
        task.examples("train")
