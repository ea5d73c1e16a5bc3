import json
from dataclasses import replace

import pytest

from unspoken.errors import DataError, RecipeError
from unspoken.records import Ledger, Rejection
from unspoken.tasks.custom import Custom
from unspoken.tasks.gsm8k import GSM8K
from unspoken.tasks.hops import Hops
from unspoken.tasks.make import FORMATS, account, check, convert, make
from unspoken.tasks.multiplication import Multiplication
from unspoken.tasks.prontoqa import ProntoQA
from unspoken.tasks.prosqa import ProsQA
from unspoken.tasks.shapes import Shapes
from unspoken.tasks.stories import Stories
from unspoken.vision.preflight import preflight

SMALL = {"train_rows": 5, "validation_rows": 6, "test_rows": 7}


def without_ids(examples):
    return [replace(example, id="") for example in examples]


def write_rows(path, rows):
    path.write_text(json.dumps(rows))
    return path


ROWS = [
    {"question": "2 + 3?", "steps": ["2 + 3 = 5"], "answer": "5"},
    {"question": "5 * 4?", "steps": ["5 * 4 = 20"], "answer": "20"},
]


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (ProsQA(**SMALL), "a.json"),
        (ProsQA(**SMALL), "a.jsonl"),
        (ProsQA(rendering="symbols", **SMALL), "a.json"),
        (Multiplication(**SMALL), "a.txt"),
    ],
)
def test_a_task_reads_back_what_it_made(task, name, tmp_path):
    ledger = make(task, "validation", tmp_path / name)
    assert (ledger.rows_in, ledger.rows_kept) == (6, 6)
    examples, _ = task.model_copy(update={"test": tmp_path / name}).examples("test")
    assert without_ids(examples) == without_ids(task.examples("validation")[0])


def test_prontoqa_is_made_in_the_released_format(tmp_path):
    make(ProntoQA(**SMALL), "test", tmp_path / "a.json")
    examples, _ = ProntoQA(test=tmp_path / "a.json").examples("test")
    made = ProntoQA(**SMALL).examples("test")[0]
    assert [(row.premises, row.question, row.steps, row.answer) for row in examples] == [
        (row.premises, row.question, row.steps, row.answer) for row in made
    ]


def test_rows_of_any_task_are_rows_of_the_custom_task(tmp_path):
    make(Hops(**SMALL), "train", tmp_path / "a.json")
    examples, _ = Custom(train=tmp_path / "a.json").examples("train")
    made = Hops(**SMALL).examples("train")[0]
    assert [(row.steps, row.answer) for row in examples] == [(row.steps, row.answer) for row in made]
    assert examples[0].question == " ".join((*made[0].premises, made[0].question))


@pytest.mark.parametrize(
    ("task", "name", "reason"),
    [
        (Hops(**SMALL), "a.txt", "ends in .json or .jsonl"),
        (Multiplication(**SMALL), "a.json", "ends in .txt"),
        (GSM8K(), "a.json", "no validation file"),
    ],
)
def test_what_cannot_be_made_leaves_no_file(task, name, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        make(task, "validation", tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_not_replaced(tmp_path):
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(DataError, match="exists; remove it or choose another"):
        make(Hops(**SMALL), "test", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "mine"


def test_lines_of_icot_become_question_steps_and_answer(tmp_path):
    source = tmp_path / "valid.txt"
    source.write_text("2 + 3, times 4?||<<2+3=5>> <<5*4=20>> #### 20\nno bar #### 3\n7?|| #### 7\n")
    ledger = convert(source, tmp_path / "valid.json", "gsm8k")
    assert json.loads((tmp_path / "valid.json").read_text()) == [
        {"question": "2 + 3, times 4?", "steps": ["<<2+3=5>>", "<<5*4=20>>"], "answer": "20"},
        {"question": "7?", "steps": [], "answer": "7"},
    ]
    assert (ledger.rows_in, ledger.rows_kept, [row.row for row in ledger.rejected]) == (3, 2, [2])


def test_the_original_gsm8k_has_equations_or_sentences(tmp_path):
    row = {"question": "Half of 48?", "answer": "She sold 48/2 = <<48/2=24>>24.\n#### 24"}
    source = tmp_path / "train.jsonl"
    source.write_text(json.dumps(row) + "\n")
    convert(source, tmp_path / "equations.json", "gsm8k")
    convert(source, tmp_path / "sentences.jsonl", "gsm8k_sentences")
    assert json.loads((tmp_path / "equations.json").read_text())[0]["steps"] == ["<<48/2=24>>"]
    assert json.loads((tmp_path / "sentences.jsonl").read_text())["steps"] == ["She sold 48/2 = 24."]


def test_the_output_of_the_official_prontoqa_generator_is_read(tmp_path):
    good = {
        "question": "Every wumpus is red. Max is a wumpus.",
        "query": "True or false: Max is red.",
        "chain_of_thought": ["Max is a wumpus.", "Every wumpus is red.", "Max is red."],
        "answer": "True",
    }
    value = {"example1": {"test_example": good}, "example2": {"test_example": {**good, "query": 3}}, "example3": []}
    source = write_rows(tmp_path / "raw.json", value)
    ledger = convert(source, tmp_path / "rows.json", "prontoqa")
    assert json.loads((tmp_path / "rows.json").read_text()) == [
        {
            "question": "Every wumpus is red. Max is a wumpus. True or false: Max is red.",
            "steps": ["Max is a wumpus. Every wumpus is red.", "Max is red."],
            "answer": "True",
        }
    ]
    assert [(row.row, row.reason.partition(";")[0]) for row in ledger.rejected] == [
        (2, "example2: query is the number 3"),
        (3, "example3: it has no test_example"),
    ]
    assert ProntoQA(train=tmp_path / "rows.json").examples("train")[1].rows_kept == 1


@pytest.mark.parametrize("value", [[], {"a": {}}, {}])
def test_a_file_without_prontoqa_examples_is_refused(tmp_path, value):
    with pytest.raises(DataError):
        convert(write_rows(tmp_path / "raw.json", value), tmp_path / "rows.json", "prontoqa")
    assert not (tmp_path / "rows.json").exists()


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(RecipeError, match="gsm8k, gsm8k_sentences, multiplication"):
        convert(tmp_path / "a", tmp_path / "b.json", "gsm")


@pytest.mark.parametrize(
    ("file", "format", "rows"),
    [
        ("gsm8k/aug_valid.json", "gsm8k", 500),
        ("gsm8k/train.jsonl", "gsm8k_sentences", 7473),
        ("multiplication/4x4_valid.txt", "multiplication", 1000),
        ("prosqa/valid.json", "prosqa", 300),
        ("prosqa/valid.json", "prosqa_symbols", 300),
        ("prontoqa/valid.json", "custom", 200),
    ],
)
def test_published_files_are_converted_to_the_last_row(shared_data, tmp_path, file, format, rows):
    ledger = convert(shared_data / file, tmp_path / "out.jsonl", format)
    assert (ledger.rows_in, ledger.rows_kept, len(ledger.rejected)) == (rows, rows, 0)
    # some rows of GSM8K hold U+2028, which ends a line for splitlines() but not for JSON lines
    assert (tmp_path / "out.jsonl").read_text().count("\n") == rows
    assert format in FORMATS


def test_every_row_is_accounted_for(tmp_path):
    rows = [*ROWS, {"question": "?", "steps": "2+3=5", "answer": "5"}, {"question": "?", "steps": []}]
    checked = check([write_rows(tmp_path / "a.json", rows)], Custom())
    assert not checked.is_clean
    lines = checked.report.splitlines()
    assert lines[0] == f"{tmp_path / 'a.json'}: 4 rows in = 2 kept + 2 rejected"
    assert lines[1].startswith("  row 3: steps is the text '2+3=5'")
    assert lines[2].startswith("  row 4: no 'answer'")
    assert "  steps a row: 1 to 1, 1.0 on average" in lines


def test_an_account_adds_up():
    ledger = Ledger(1200, 1199, (Rejection("a.json", 7, "no 'answer'"),), ("3 rows without steps",))
    assert account(ledger, "a.json") == (
        "a.json: 1,200 rows in = 1,199 kept + 1 rejected\n  row 7: no 'answer'\n  3 rows without steps"
    )


def test_a_question_in_two_files_is_leakage(tmp_path):
    train = write_rows(tmp_path / "train.json", ROWS)
    test = write_rows(tmp_path / "test.json", [{**ROWS[1], "answer": "21"}, {**ROWS[0], "question": "2  +  3?"}])
    checked = check([train, test], Custom())
    assert not checked.is_clean
    assert checked.report.splitlines()[-3:] == [
        f"leakage: 2 rows of {test} ask what a row of {train} asks",
        f"  row 1 = row 2 of {train}",
        f"  row 2 = row 1 of {train}, but for case, spaces or the order of premises",
    ]


def test_premises_in_another_order_ask_the_same(tmp_path):
    make(ProsQA(**SMALL), "test", tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text())
    sentences = rows[0]["question"].split(". ")
    rows[0]["question"] = ". ".join([*reversed(sentences[:-1]), sentences[-1]])
    checked = check([tmp_path / "a.json", write_rows(tmp_path / "b.json", rows[:1])], ProsQA())
    assert "row 1 = row 1" in checked.report
    assert "the order of premises" in checked.report


def test_the_same_words_about_other_pictures_are_no_leakage(tmp_path):
    rows = [{"question": "What?", "steps": [], "answer": "a cat", "image": name} for name in ("1.png", "2.png")]
    train = write_rows(tmp_path / "train.json", rows[:1])
    test = write_rows(tmp_path / "test.json", rows[1:])
    assert check([train, test], Custom(images=tmp_path)).is_clean
    assert not check([train, test], Custom()).is_clean
    assert "question of an earlier row" not in check([write_rows(train, rows)], Custom(images=tmp_path)).report


def test_images_that_cannot_be_used_are_named(tmp_path):
    rows = [{"question": "What?", "steps": [], "answer": "a cat", "image": "absent.png"}]
    checked = check([write_rows(tmp_path / "train.json", rows)], Custom(images=tmp_path), check_images=preflight)
    assert not checked.is_clean
    assert "'absent.png' (row '1'): the file does not exist" in checked.report


def test_rows_with_pictures_are_read_back_with_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Shapes(train_rows=1, validation_rows=1, test_rows=2)
    make(task, "test", tmp_path / "a.json")
    back = Custom(test=tmp_path / "a.json", images=tmp_path).examples("test")[0]
    assert [row.images for row in back] == [row.images for row in task.examples("test")[0]]
    assert check([tmp_path / "a.json"], Custom(images=tmp_path), check_images=preflight).is_clean


def test_files_without_a_common_question_are_clean(tmp_path):
    first = write_rows(tmp_path / "a.json", ROWS[:1])
    second = write_rows(tmp_path / "b.json", ROWS[1:])
    checked = check([first, second], Custom())
    assert checked.is_clean
    assert f"no question of {second} stands in {first}" in checked.report


def test_generated_splits_share_nothing(tmp_path):
    task = ProsQA(train_rows=60, validation_rows=40, test_rows=40)
    for split in ("train", "validation", "test"):
        make(task, split, tmp_path / f"{split}.json")
    assert check(sorted(tmp_path.iterdir()), ProsQA()).is_clean


def test_tokens_are_counted_on_request(tmp_path):
    path = write_rows(tmp_path / "a.json", ROWS)
    report = check([path], Custom(), lambda text: len(text.split())).report
    assert "  tokens a row: 10 to 10, 10.0 on average" in report
    assert "tokens a row" not in check([path], Custom()).report


def test_a_task_that_makes_its_rows_checks_no_files(tmp_path):
    with pytest.raises(RecipeError, match="hops is generated and reads no files"):
        check([tmp_path / "a.json"], Hops())
    with pytest.raises(RecipeError, match="stories divides one data set itself and reads no files"):
        check([tmp_path / "a.json"], Stories())
