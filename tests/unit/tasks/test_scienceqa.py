"""problems.json and the prepared rows become examples; rows of other splits and bad ones are told apart."""

import json

import pytest

from unspoken.errors import DataError
from unspoken.records import Example, Score
from unspoken.tasks.scienceqa import ScienceQA

PROBLEM = {
    "question": "Which is farthest\nnorth?",
    "choices": ["Maine", "Ohio, USA", "Texas"],
    "answer": 0,
    "hint": "",
    "image": "image.png",
    "task": "closed choice",
    "grade": "grade2",
    "subject": "social science",
    "lecture": "Maps have directions. North is up.\nSouth is down.",
    "solution": "Look at the map! Maine is it.",
    "split": "train",
}
PREPARED = {
    "question": "Which sinks? Hint: Density matters. Choices are: cork, 1,000 nails",
    "steps": ["Cork is light.", "Nails are\nheavy."],
    "answer": "1,000 nails",
    "image": "/kaggle/input/7/image.png",
    "grade": "grade2",
}


def write(folder, value, name="problems.json"):
    path = folder / name
    path.write_text(json.dumps(value, indent=1))
    return path


def without(row, key):
    return {name: value for name, value in row.items() if name != key}


def test_a_problem_becomes_an_example(tmp_path):
    task = ScienceQA(train=write(tmp_path, {"17": PROBLEM}))
    examples, ledger = task.examples("train")
    assert examples == (
        Example(
            "scienceqa/train/17",
            "Which is farthest north? The choices are 0 : Maine, 1 : Ohio, USA, 2 : Texas",
            ("Maps have directions.", "North is up.", "South is down.", "Look at the map!", "Maine is it."),
            "0 : Maine",
            images=("train/17/image.png",),
            choices=("0 : Maine", "1 : Ohio, USA", "2 : Texas"),
        ),
    )
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected, ledger.notes) == (1, 1, (), ())
    (short,), _ = task.model_copy(update={"reasoning": "solution"}).examples("train")
    assert short.steps == ("Look at the map!", "Maine is it.")


def test_hints_are_read_and_rows_without_an_image_are_kept(tmp_path):
    row = PROBLEM | {"hint": " Look up. ", "image": None, "split": "val", "lecture": None, "solution": ""}
    (example,), ledger = ScienceQA(validation=write(tmp_path, {"3": row})).examples("validation")
    assert example.question.startswith("Which is farthest north? Hint: Look up. The choices are 0 : Maine")
    assert (example.images, example.steps) == ((), ())
    assert ledger.notes == ("1 row without steps: a curriculum has nothing to replace by thoughts there",)


def test_one_file_serves_all_splits_and_every_row_is_accounted_for(tmp_path):
    splits = ("train", "val", "train", "test", "minival")
    path = write(tmp_path, {str(number): PROBLEM | {"split": split} for number, split in enumerate(splits)})
    task = ScienceQA(train=path, validation=path, test=path, max_bad_rows=1)
    ids = {split: [row.id for row in task.examples(split)[0]] for split in ("train", "validation", "test")}
    assert ids == {
        "train": ["scienceqa/train/0", "scienceqa/train/2"],
        "validation": ["scienceqa/validation/1"],
        "test": ["scienceqa/test/3"],
    }
    _, ledger = task.examples("validation")
    assert (ledger.rows_in, ledger.rows_kept) == (5, 1)
    assert [(each.row, each.reason) for each in ledger.rejected] == [
        (1, "it is of the split train; validation is read"),
        (3, "it is of the split train; validation is read"),
        (4, "it is of the split test; validation is read"),
        (5, "problem the text '4': split is the text 'minival'; it must be train, val or test"),
    ]
    assert task.examples("validation")[0][0].images == ("val/1/image.png",)


def test_a_split_without_rows_is_refused(tmp_path):
    task = ScienceQA(test=write(tmp_path, {"1": PROBLEM}))
    with pytest.raises(DataError, match="has no row of the split test among 1; give a file that has"):
        task.examples("test")
    with pytest.raises(DataError, match="task scienceqa has no train file"):
        task.examples("train")


@pytest.mark.parametrize(
    ("key", "row", "reason"),
    [
        ("2", [], "the list [] stands for a row"),
        ("../2", PROBLEM, "an id is made of letters, digits, - and _"),
        ("2", without(PROBLEM, "split"), "no 'split'; found the keys"),
        ("2", without(PROBLEM, "answer"), "no 'answer'; found the keys"),
        ("2", without(PROBLEM, "image"), "no 'image'; found the keys"),
        ("2", PROBLEM | {"answer": 3}, "answer is the number 3; it must be a whole number from 0 to 2"),
        ("2", PROBLEM | {"answer": "0"}, "answer is the text '0'"),
        ("2", PROBLEM | {"question": ""}, "question is the text ''"),
        ("2", PROBLEM | {"choices": ["a", "a"]}, "the text 'a' is a choice more than once"),
        ("2", PROBLEM | {"choices": list("abcdef")}, "there are 6 choices"),
        ("2", PROBLEM | {"choices": "ab"}, "choices is the text 'ab'"),
        ("2", PROBLEM | {"hint": 1}, "hint is the number 1; it must be a text, or null"),
        ("2", PROBLEM | {"solution": ["a"]}, "solution is the list ['a']"),
        ("2", PROBLEM | {"solution": "a\0"}, "the character U+0000"),
    ],
)
def test_bad_problems_are_named_with_place_and_reason(tmp_path, key, row, reason):
    path = write(tmp_path, {"1": PROBLEM, key: row, "3": PROBLEM})
    with pytest.raises(DataError) as caught:
        ScienceQA(train=path).examples("train")
    head, line = str(caught.value).splitlines()
    assert head.startswith(f"{path}: 1 of 3 rows rejected, 2 kept; ")
    assert line.startswith(f"  row 2: problem the text {key!r}: ")
    assert reason in line
    examples, ledger = ScienceQA(train=path, max_bad_rows=1).examples("train")
    assert (len(examples), ledger.rows_in, ledger.rows_kept, len(ledger.rejected)) == (2, 3, 2, 1)


def test_all_bad_problems_stand_in_one_error(tmp_path):
    path = write(tmp_path, {"1": PROBLEM | {"answer": 9}, "2": PROBLEM, "3": PROBLEM | {"hint": 1}})
    with pytest.raises(DataError) as caught:
        ScienceQA(train=path).examples("train")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()[1:]] == ["  row 1", "  row 3"]


def test_damaged_problems_are_refused_with_their_place(tmp_path):
    path = write(tmp_path, {"1": PROBLEM})
    path.write_text(path.read_text()[:-20])
    with pytest.raises(DataError, match="is not valid JSON at line"):
        ScienceQA(train=path).examples("train")


@pytest.mark.parametrize("lines", [False, True])
def test_a_prepared_row_becomes_an_example(tmp_path, lines):
    path = write(tmp_path, [PREPARED])
    if lines:
        path.write_text(json.dumps(PREPARED))
    (example,), ledger = ScienceQA(train=path, image_paths="name", answer="text").examples("train")
    assert example == Example(
        "scienceqa/train/1",
        "Which sinks? Hint: Density matters. The choices are 0 : cork, 1 : 1,000 nails",
        ("Cork is light.", "Nails are heavy."),
        "1,000 nails",
        images=("image.png",),
        choices=("cork", "1,000 nails"),
    )
    assert ledger.notes == ("1 row with the key 'grade': it is not read",)


def test_prepared_rows_without_an_image_are_kept(tmp_path):
    rows = [without(PREPARED, "image"), PREPARED | {"image": None}, PREPARED | {"image": ""}, PREPARED]
    examples, _ = ScienceQA(train=write(tmp_path, rows)).examples("train")
    assert [row.images for row in examples] == [(), (), (), ("/kaggle/input/7/image.png",)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (PREPARED | {"answer": "nails"}, "answer is the text 'nails', which is none of the choices"),
        (PREPARED | {"answer": "Cork"}, "answer is the text 'Cork', which is none of the choices"),
        (PREPARED | {"answer": "1"}, "answer is the text '1', which is none of the choices"),
        (PREPARED | {"question": "Which sinks?"}, "no 'Choices are:' in the text 'Which sinks?'"),
        (PREPARED | {"question": "Choices are: cork, 1,000 nails"}, "nothing stands before 'Choices are:'"),
        (PREPARED | {"question": "Q? Choices are: a, b, c, d, e, f"}, "If a choice holds a comma, take the row from"),
        (PREPARED | {"question": "Q? Choices are: cork, cork"}, "the text 'cork' is a choice more than once"),
        (PREPARED | {"question": "Q? Choices are: cork"}, "there are 1 choices"),
        (PREPARED | {"image": 7}, "image is the number 7; it must be a text, or null"),
        (without(PREPARED, "steps"), "no 'steps'; found the keys"),
    ],
)
def test_bad_prepared_rows_are_named_with_place_and_reason(tmp_path, row, reason):
    path = write(tmp_path, [PREPARED, row])
    with pytest.raises(DataError) as caught:
        ScienceQA(train=path).examples("train")
    (line,) = str(caught.value).splitlines()[1:]
    assert line.startswith("  row 2: ")
    assert reason in line
    _, ledger = ScienceQA(train=path, max_bad_rows=1).examples("train")
    assert (ledger.rows_in, ledger.rows_kept, len(ledger.rejected)) == (2, 1, 1)


def test_equal_choices_are_one_answer_when_kept(tmp_path):
    path = write(tmp_path, {"1": PROBLEM | {"choices": ["sea", "air", "air"], "answer": 2}})
    task = ScienceQA(train=path, repeated_choices="keep")
    (example,), ledger = task.examples("train")
    assert example.answer == "1 : air"
    assert [task.score(example, f"### {text}").verdict for text in ("2", "1 : air", "air", "0")] == [
        "right", "right", "right", "wrong",
    ]  # fmt: skip
    assert ledger.notes == ("1 row with two equal choices, which count as one answer; kept",)
    assert example.choices == ("0 : sea", "1 : air", "1 : air")


def test_a_gold_answer_that_reads_as_another_choice_is_refused(tmp_path):
    path = write(tmp_path, {"1": PROBLEM | {"choices": ["1 : x", "x", "3 : y"], "answer": 1}})
    with pytest.raises(DataError, match="the gold answer, the text '1 : x', would not be read as that choice"):
        ScienceQA(train=path).examples("train")
    assert ScienceQA(train=path, answer="label").examples("train")[0][0].answer == "1"


def test_outputs_are_judged_by_the_choice_they_name(tmp_path):
    task = ScienceQA(train=write(tmp_path, {"1": PROBLEM}), choice_labels="letters", answer="label")
    (example,), _ = task.examples("train")
    assert example.answer == "A"
    assert task.score(example, "Look!\n### a") == Score("right", "A")
    assert task.score(example, "### ohio, usa") == Score("wrong", "B")
    assert task.score(example, "### B : Maine") == Score("no answer", None)
