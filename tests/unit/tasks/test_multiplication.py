"""Products are written exactly as in the published file, and no product is in two splits."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from unspoken.errors import DataError
from unspoken.records import Score, TextFormat
from unspoken.tasks.multiplication import Multiplication, example_of, factors_of, line_of, parse_line, spaced

RELEASED = Path(__file__).parents[3] / "../shared/data/multiplication/4x4_valid.txt"
needs_released = pytest.mark.skipif(not RELEASED.is_file(), reason="the published lines are not on this machine")

LINE = (
    "5 6 3 2 * 7 4 3 4||5 5 5 6 1 + 0 0 6 4 9 0 ( 5 5 1 1 1 1 ) + 0 0 5 9 0 7 0 ( 5 5 6 0 2 8 0 ) + 0 0 0 0 6 4 9 0 "
    "#### 5 5 6 0 8 2 0 1"
)
SMALL = Multiplication(first_digits=2, second_digits=2, train_rows=300, validation_rows=40, test_rows=60)


def products(task, split):
    return [factors_of(example.question) for example in task.examples(split)[0]]


def number(digits):
    return int(digits.replace(" ", "")[::-1])


def test_a_product_is_written_as_in_the_paper():
    example = example_of("1", 2365, 4347, 4, 4)
    assert example.question == "5 6 3 2 * 7 4 3 4"
    assert example.steps == (
        "5 5 5 6 1",
        "+ 0 0 6 4 9 0 ( 5 5 1 1 1 1 )",
        "+ 0 0 5 9 0 7 0 ( 5 5 6 0 2 8 0 )",
        "+ 0 0 0 0 6 4 9 0",
    )
    assert example.answer == "5 5 6 0 8 2 0 1"
    assert line_of(example) == LINE


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (9, 9, "9 * 9||1 8 #### 1 8"),
        (1, 1, "1 * 1||1 0 #### 1 0"),
        (12, 3, "2 1 * 3||6 3 0 #### 6 3 0"),
        (99, 99, "9 9 * 9 9||1 9 8 + 0 1 9 8 #### 1 0 8 9"),
        (10, 100, "0 1 * 0 0 1||0 0 0 + 0 0 0 0 ( 0 0 0 0 ) + 0 0 0 1 0 #### 0 0 0 1 0"),
    ],
)
def test_other_lengths_keep_the_form(first, second, line):
    digits = len(str(first)), len(str(second))
    assert line_of(example_of("1", first, second, *digits)) == line
    assert parse_line(line, "1") == example_of("1", first, second, *digits)


def test_digits_are_reversed_and_filled_with_zeros():
    assert spaced(120, 4) == "0 2 1 0"
    assert factors_of("0 2 1 * 7") == (120, 7)


@needs_released
def test_the_published_lines_are_all_read_and_are_written_again_to_the_byte():
    lines = RELEASED.read_text().split("\n")[:-1]
    task = Multiplication(validation=RELEASED)
    examples, ledger = task.examples("validation")
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected, ledger.notes) == (1000, 1000, (), ())
    assert [line_of(example_of("1", *factors_of(line.split("||")[0]), 4, 4)) for line in lines] == lines
    text = task.text
    for example, line in zip(examples, lines, strict=True):
        steps = "".join(step + text.step_end for step in example.steps)
        assert example.question + text.question_end + steps + text.answer_start + example.answer == line


@needs_released
def test_generated_rows_leave_out_the_products_of_a_file(tmp_path):
    alone = Multiplication(train_rows=2000)
    drawn = products(alone, "train")
    planted = tmp_path / "valid.txt"
    rest = RELEASED.read_text()
    planted.write_text("".join(line_of(example_of("1", *pair, 4, 4)) + "\n" for pair in drawn[:50]) + rest)
    beside = products(Multiplication(train_rows=2000, validation=planted), "train")
    assert len(set(beside)) == 2000
    assert not {*beside} & {*drawn[:50]}
    assert not {*beside} & {factors_of(line.split("||")[0]) for line in rest.split("\n") if line}


def test_generated_steps_are_the_arithmetic():
    for example in SMALL.examples("train")[0]:
        first, second = factors_of(example.question)
        assert 10 <= first < 100
        assert 10 <= second < 100
        assert number(example.answer) == first * second
        low, high = example.steps
        assert number(low) == first * (second % 10)
        assert number(high.removeprefix("+ ")) == first * (second // 10) * 10


def test_running_sums_are_sums_of_the_partial_products():
    task = Multiplication(first_digits=3, second_digits=5, train_rows=50, validation_rows=1, test_rows=1)
    for example in task.examples("train")[0]:
        total = 0
        for step in example.steps:
            partial, _, running = step.removeprefix("+ ").removesuffix(" )").partition(" ( ")
            total += number(partial)
            assert not running or number(running) == total
        assert [("(" in step) for step in example.steps] == [False, True, True, True, False]
        assert number(example.answer) == total


def test_splits_share_no_pair_of_factors_in_either_order():
    small = Multiplication(first_digits=2, second_digits=2, train_rows=4000, validation_rows=200, test_rows=200)
    train, validation, test = (set(products(small, split)) for split in ("train", "validation", "test"))
    for asked, known in ((test, train), (test, validation), (validation, train)):
        assert not {(second, first) for first, second in asked} & known
        assert not asked & known


def test_splits_share_no_product_and_repeat_none():
    drawn = {split: products(SMALL, split) for split in ("train", "validation", "test")}
    assert {split: len(pairs) for split, pairs in drawn.items()} == {"train": 300, "validation": 40, "test": 60}
    assert len({pair for pairs in drawn.values() for pair in pairs}) == 400


def both_orders(pairs):
    return {*pairs, *((second, first) for first, second in pairs)}


def test_every_product_can_be_asked_for():
    task = Multiplication(first_digits=1, second_digits=1, train_rows=1, validation_rows=10, test_rows=10)
    others = both_orders(products(task, "test") + products(task, "validation"))
    rest = {(first, second) for first in range(1, 10) for second in range(1, 10)} - others
    task = task.model_copy(update={"train_rows": len(rest)})
    assert set(products(task, "train")) == rest


def test_more_rows_than_products_are_refused(tmp_path):
    task = Multiplication(first_digits=1, second_digits=1, train_rows=62, validation_rows=10, test_rows=10)
    assert len(products(task, "test")) == 10
    free = 81 - len(both_orders(products(task, "test") + products(task, "validation")))
    with pytest.raises(DataError) as caught:
        task.examples("train")
    assert str(caught.value) == (
        f"task.train_rows asks for 62 products, and only {free} are in no other split; ask for fewer, or raise "
        "task.first_digits"
    )
    path = tmp_path / "valid.txt"
    path.write_text("".join(line_of(example_of("1", first, 9, 1, 1)) + "\n" for first in range(1, 9)))
    beside_a_file = task.model_copy(update={"validation": path})
    free = 81 - len(both_orders([*((first, 9) for first in range(1, 9)), *products(beside_a_file, "test")]))
    with pytest.raises(DataError, match=f"asks for 70 products, and only {free} are in no other split"):
        beside_a_file.model_copy(update={"train_rows": 70}).examples("train")


def test_rows_depend_on_the_seed_and_on_nothing_else():
    assert SMALL.examples("train") == SMALL.examples("train")
    other = SMALL.model_copy(update={"seed": 1})
    assert products(SMALL, "train") != products(other, "train")
    longer = SMALL.model_copy(update={"train_rows": 500})
    assert products(longer, "train")[:300] == products(SMALL, "train")
    assert products(longer, "test") == products(SMALL, "test")
    assert SMALL.examples("test")[0][1].id == "multiplication/test/1"


def test_the_rows_of_a_seed_never_change():
    assert products(Multiplication(), "test")[:3] == [(7273, 2267), (2548, 8511), (9752, 3120)]
    assert products(Multiplication(seed=7), "train")[:3] == [(2162, 9324), (9542, 4650), (8173, 3479)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            LINE.replace("||", " "),
            "the text '5 6 3 2 * 7 4 3 4 5 5 5 6 1...6 4 9 0 #### 5 5 6 0 8 2 0 1' does not begin with two factors "
            "and ||; write them as in 5 6 3 2 * 7 4 3 4||",
        ),
        ("5632 * 7434||1 #### 1", "does not begin with two factors and ||"),
        ("5 6 + 7 4||1 #### 1", "does not begin with two factors and ||"),
        ("5 6 * 7 4 * 2||1 #### 1", "does not begin with two factors and ||"),
        (
            "9 * 9||1 8 #### 1 9",
            "after the text '9 * 9||1 8 #### 1 ' comes the text '9', but in the product of the factors the text '8'; "
            "correct the line",
        ),
        ("9 * 9||1 8", "comes the text '', but in the product of the factors the text ' #### 1 8'"),
        ("9 * 9||1 8 #### 1 8 0", "comes the text ' 0', but in the product of the factors the text ''"),
        ("2 * 2||4 #### 4 0", "comes the text '#### 4 0', but in the product of the factors the text '0 #### 4 0'"),
        (
            line_of(example_of("1", 11111, 1, 5, 1)),
            "factors of 5 and 1 digits, more than the 4 and 4 that are set; "
            "raise task.first_digits and task.second_digits",
        ),
    ],
)
def test_a_wrong_line_is_named_with_the_place_of_the_mistake(tmp_path, bad, reason):
    path = tmp_path / "train.txt"
    path.write_text(f"{LINE}\n{bad}\n")
    with pytest.raises(DataError) as caught:
        Multiplication(train=path).examples("train")
    head, row = str(caught.value).splitlines()
    assert head.startswith(f"{path}: 1 of 2 rows rejected, 1 kept")
    assert row.startswith("  row 2: ")
    assert reason in row
    assert len(Multiplication(train=path, max_bad_rows=1).examples("train")[0]) == 1


def test_a_json_row_is_refused():
    with pytest.raises(DataError) as caught:
        parse_line({"question": "5 * 5"}, "1")
    assert str(caught.value) == "a JSON object; this task reads lines of text: question||step + step #### answer"


def test_the_closed_vocabulary_covers_every_line():
    words = set(SMALL.words())
    assert len(words) == len(SMALL.words()) == 16
    for example in (*SMALL.examples("train")[0], example_of("1", 2365, 4347, 4, 4)):
        assert set(line_of(example).replace("||", " || ").split()) <= words


def test_there_is_room_for_the_whole_row():
    for first, second in ((4, 4), (1, 1), (2, 5), (20, 20)):
        task = Multiplication(first_digits=first, second_digits=second)
        example = example_of("1", 10**first - 1, 10**second - 1, first, second)
        output = "".join(step + " " for step in example.steps) + "#### " + example.answer
        assert len(output.split()) + second < task.max_new_tokens


def test_an_answer_is_right_only_digit_by_digit():
    task, example = Multiplication(), example_of("1", 2365, 4347, 4, 4)
    assert task.text == TextFormat(" ", "||", " ", "#### ")
    assert task.score(example, LINE.split("||")[1]) == Score("right", "5 5 6 0 8 2 0 1")
    assert task.score(example, "#### 5 5 6 0 8 2 0 2") == Score("wrong", "5 5 6 0 8 2 0 2")
    assert task.score(example, "#### 5 5 6 0 8 2 0") == Score("wrong", "5 5 6 0 8 2 0")
    assert task.score(example, "5 5 6 0 8 2 0 1") == Score("no answer", None)


def test_settings_have_bounds():
    for wrong in ({"first_digits": 0}, {"second_digits": 21}, {"train_rows": 0}, {"seed": -1}, {"digits": 4}):
        with pytest.raises(ValidationError):
            Multiplication(**wrong)
