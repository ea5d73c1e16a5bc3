"""Every row is accounted for: kept, or rejected with its number and the reason; nothing is lost or changed quietly."""

import json
import random
from pathlib import Path

import pytest

from unspoken.config import DataPaths
from unspoken.errors import DataError
from unspoken.records import Example, Ledger, Rejection
from unspoken.tasks.rows import MAX_NAMED, examples_from, path_of, question_steps_answer, required_path, text_field

ROW = {"question": "2 + 3?", "steps": ["2 + 3 = 5"], "answer": "5"}


def parse(row, id):
    return Example(id, *question_steps_answer(row))


def write(folder: Path, rows: list, name: str = "rows.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


def numbered(count: int) -> list[dict]:
    return [{**ROW, "question": f"{number}?"} for number in range(1, count + 1)]


def test_the_fields_of_a_row_are_kept_to_the_letter():
    row = {
        "question": " 2 + 3?\n### <|latent|> <|endoftext|>\u200b\U0001f600",
        "steps": [" 2 + 3 = 5 ", "#"],
        "answer": "1,234 ",
    }
    assert question_steps_answer(row) == (row["question"], (" 2 + 3 = 5 ", "#"), "1,234 ")


def test_an_integer_answer_becomes_text():
    assert question_steps_answer({**ROW, "answer": 42}).answer == "42"
    assert question_steps_answer({**ROW, "answer": -7}).answer == "-7"


def test_steps_may_be_empty_and_steps_without_text_are_none():
    assert question_steps_answer({**ROW, "steps": []}).steps == ()
    assert question_steps_answer({**ROW, "steps": [""]}).steps == ()
    assert question_steps_answer({**ROW, "steps": ["a", " \n", "b"]}).steps == ("a", "b")


ADD = "add it, or rename the key that holds it"
LIST = "it must be a list of texts, one for each step, or []"
TEXT = "it must be a text that is not empty"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q", "steps": []}, f"no 'answer'; found the keys 'question', 'steps'; {ADD}"),
        ({"q": "q", "answer": "a"}, f"no 'steps'; found the keys 'answer', 'q'; {ADD}"),
        ({"steps": [], "answer": "a"}, f"no 'question'; found the keys 'answer', 'steps'; {ADD}"),
        ({}, f"no 'steps'; found the keys none; {ADD}"),
        ({**ROW, "steps": "2 + 3 = 5"}, f"steps is the text '2 + 3 = 5'; {LIST}"),
        ({**ROW, "steps": None}, f"steps is null; {LIST}"),
        ({**ROW, "steps": ["a", 5]}, f"steps is the list ['a', 5]; {LIST}"),
        ({**ROW, "steps": [["a"]]}, f"steps is the list [['a']]; {LIST}"),
        ({**ROW, "steps": {"1": "a"}}, f"steps is the object {{'1': 'a'}}; {LIST}"),
        ({**ROW, "question": ""}, f"question is the text ''; {TEXT}"),
        ({**ROW, "question": " \t"}, rf"question is the text ' \t'; {TEXT}"),
        ({**ROW, "question": 5}, f"question is the number 5; {TEXT}"),
        ({**ROW, "question": ["q"]}, f"question is the list ['q']; {TEXT}"),
        ({**ROW, "answer": None}, f"answer is null; {TEXT}, or an integer"),
        ({**ROW, "answer": ""}, f"answer is the text ''; {TEXT}, or an integer"),
        ({**ROW, "answer": " "}, f"answer is the text ' '; {TEXT}, or an integer"),
        ({**ROW, "answer": True}, f"answer is the truth value True; {TEXT}, or an integer"),
        ({**ROW, "answer": 7.5}, f"answer is the number 7.5; {TEXT}, or an integer"),
        ({**ROW, "answer": ["5"]}, f"answer is the list ['5']; {TEXT}, or an integer"),
        ("2 + 3?,5", "the text '2 + 3?,5' stands for a row; write an object with question, steps and answer"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_found(row, reason):
    with pytest.raises(DataError) as caught:
        question_steps_answer(row)
    assert str(caught.value) == reason


def test_another_text_field_can_be_required():
    assert text_field({"rationale": "because"}, "rationale") == "because"
    with pytest.raises(DataError, match="rationale is the number 1"):
        text_field({"rationale": 1}, "rationale")


def test_good_rows_become_examples_in_order_with_their_row_in_the_id(tmp_path):
    examples, ledger = examples_from(write(tmp_path, numbered(3)), parse, prefix="mine/train")
    assert [example.id for example in examples] == ["mine/train/1", "mine/train/2", "mine/train/3"]
    assert examples[0] == Example("mine/train/1", "1?", ("2 + 3 = 5",), "5")
    assert ledger == Ledger(rows_in=3, rows_kept=3)


def test_one_error_names_all_rejected_rows(tmp_path):
    rows = numbered(5)
    del rows[1]["answer"]
    rows[3]["steps"] = "a"
    path = write(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        examples_from(path, parse, prefix="p")
    assert str(caught.value).splitlines() == [
        f"{path}: 2 of 5 rows rejected, 3 kept; mend them, or set task.max_bad_rows=2 to leave them out",
        "  row 2: no 'answer'; found the keys 'question', 'steps'; add it, or rename the key that holds it",
        "  row 4: steps is the text 'a'; it must be a list of texts, one for each step, or []",
    ]


def test_an_error_spells_out_twenty_rows_and_counts_the_others(tmp_path):
    path = write(tmp_path, [ROW, *[{}] * 30])
    with pytest.raises(DataError) as caught:
        examples_from(path, parse, prefix="p", max_bad_rows=29)
    lines = str(caught.value).splitlines()
    assert MAX_NAMED == 20
    assert lines[0].startswith(f"{path}: 30 of 31 rows rejected, 1 kept; ")
    assert [line.split(":")[0] for line in lines[1:21]] == [f"  row {number}" for number in range(2, 22)]
    assert lines[21:] == ["  and 10 more"]


def test_a_tolerated_row_is_dropped_and_stands_in_the_ledger(tmp_path):
    rows = numbered(4)
    rows[2]["answer"] = None
    path = write(tmp_path, rows)
    examples, ledger = examples_from(path, parse, prefix="p", max_bad_rows=1)
    assert [example.id for example in examples] == ["p/1", "p/2", "p/4"]
    reason = "answer is null; it must be a text that is not empty, or an integer"
    assert ledger == Ledger(4, 3, (Rejection(str(path), 3, reason),))


def test_a_file_without_a_usable_row_is_an_error_however_many_may_be_bad(tmp_path):
    path = write(tmp_path, [{}, {}])
    with pytest.raises(DataError) as caught:
        examples_from(path, parse, prefix="p", max_bad_rows=100)
    assert str(caught.value).splitlines()[0] == f"{path}: 2 of 2 rows rejected, 0 kept; mend them"


def test_rows_that_cannot_be_decoded_are_rejected_beside_those_that_do_not_parse(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{json.dumps(ROW)}\n{{}}\n{{"question"\n{json.dumps(ROW)}\n{{"a": NaN}}\n{{}}\n')
    examples, ledger = examples_from(path, parse, prefix="p", max_bad_rows=4)
    assert [example.id for example in examples] == ["p/1", "p/4"]
    assert [rejection.row for rejection in ledger.rejected] == [2, 3, 5, 6]
    assert ledger.rows_in == 6


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("question", "half \ud83d of a pair", r"the character U+D83D stands in the text 'half \ud83d of a pair'"),
        ("steps", ["fine", "nul \0"], r"the character U+0000 stands in the text 'nul \x00'"),
        ("answer", "\udfff", r"the character U+DFFF stands in the text '\udfff'"),
    ],
)
def test_characters_that_cannot_be_written_reject_their_row(tmp_path, field, value, named):
    path = write(tmp_path, [ROW, {**ROW, field: value}])
    _, ledger = examples_from(path, parse, prefix="p", max_bad_rows=1)
    assert ledger.rejected == (Rejection(str(path), 2, f"{named}; remove or replace it"),)
    ledger.rejected[0].reason.encode("utf-8")


def test_odd_but_writable_characters_are_kept(tmp_path):
    odd = {**ROW, "question": "\u202eright to left\u200b\U0001f600\u2028"}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(odd, ensure_ascii=False) + "\n")
    examples, ledger = examples_from(path, parse, prefix="p")
    assert examples[0].question == odd["question"]
    assert ledger.rejected == ()


def test_notes_count_what_rejects_nothing(tmp_path):
    rows = [
        ROW,
        ROW,
        {**ROW, "answer": "6"},
        {**ROW, "question": "other", "steps": []},
        {**ROW, "question": "third", "steps": [""], "idx": 4, "image": "a.png"},
        {**ROW, "question": "fourth", "idx": 5},
    ]
    _, ledger = examples_from(write(tmp_path, rows), parse, prefix="p", keys=("question", "steps", "answer"))
    assert ledger == Ledger(
        rows_in=6,
        rows_kept=6,
        notes=(
            "2 rows without steps: a curriculum has nothing to replace by thoughts there",
            "2 rows with the question of an earlier row; kept",
            "1 row of these with another answer than it: row 3 (the text '6') and row 1 (the text '5')",
            "1 row with a step without text, which is left out",
            "2 rows with the key 'idx': it is not read",
            "1 row with the key 'image': images are not read by this task",
        ),
    )


def test_keys_are_not_looked_at_when_none_are_given(tmp_path):
    assert examples_from(write(tmp_path, [{**ROW, "idx": 1}]), parse, prefix="p")[1].notes == ()


def test_the_ledger_is_exact_for_three_hundred_files_with_bad_rows_anywhere(tmp_path):
    rng = random.Random(0)
    breakages = [
        lambda row: json.dumps(row)[:-1],
        lambda row: "{}",
        lambda row: json.dumps({**row, "answer": None}),
        lambda row: json.dumps({**row, "steps": "a"}),
        lambda row: json.dumps({**row, "question": "\0"}),
        lambda row: json.dumps({**row, "x": float("nan")}),
        lambda row: "[]",
        lambda row: json.dumps(row)[:-1] + ', "answer": "twice"}',
    ]
    exact = 0
    for number in range(300):
        rows = numbered(30)
        bad = set(rng.sample(range(2, 31), rng.randint(1, 20)))
        lines = [rng.choice(breakages)(row) if index in bad else json.dumps(row) for index, row in enumerate(rows, 1)]
        path = tmp_path / f"{number}.jsonl"
        path.write_text("\n".join(lines))
        examples, ledger = examples_from(path, parse, prefix="p", max_bad_rows=20)
        kept = [f"p/{index}" for index in range(1, 31) if index not in bad]
        exact += (
            [example.id for example in examples] == kept
            and [rejection.row for rejection in ledger.rejected] == sorted(bad)
            and (ledger.rows_in, ledger.rows_kept) == (30, len(kept))
        )
    assert exact == 300


def test_the_file_of_a_split_is_found_or_asked_for():
    paths = DataPaths(train=Path("a.json"))
    assert path_of(paths, "train") == required_path(paths, "train", "mine") == Path("a.json")
    assert path_of(paths, "test") is None
    with pytest.raises(DataError) as caught:
        required_path(paths, "test", "mine")
    assert str(caught.value) == "task mine has no test file; set task.test to the path of one"
