"""Both forms of A-OKVQA become the same examples; what cannot be an example is named with its place."""

import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from unspoken.errors import DataError
from unspoken.records import Example, Score
from unspoken.tasks.aokvqa import AOKVQA

RATIONALES = ["He's smoking while riding. the u.s. bans it.", "It glows.", "The man is smoking."]
CHOICES = ["toothpick", "food", "popsicle stick", "cigarette"]
PREPARED = {
    "image": "/content/drive/images/22jb.jpg",
    "question": "What is in his mouth? The choices are 0 : toothpick, 1 : food, 2 : popsicle stick, 3 : cigarette",
    "steps": RATIONALES,
    "answer": "3",
}
OFFICIAL = {
    "split": "val",
    "image_id": 299207,
    "question_id": "22jbM6gDxdaMaunuzgrsBB",
    "question": "What is in his mouth?",
    "choices": CHOICES,
    "correct_choice_idx": 3,
    "direct_answers": ["cigarette", "cigarette", "cigar"],
    "difficult_direct_answer": False,
    "rationales": RATIONALES,
}


def write(folder, rows, name="rows.json"):
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


def rows_of(folder, rows, **settings):
    return AOKVQA(validation=write(folder, rows), **settings).examples("validation")


def test_both_forms_become_the_same_example_but_for_the_image(tmp_path):
    (prepared,), first = rows_of(tmp_path, [PREPARED], rationale="each", answer="label")
    (official,), second = rows_of(tmp_path, [OFFICIAL], rationale="each", answer="label")
    text = ("aokvqa/validation/1", PREPARED["question"], tuple(RATIONALES), "3")
    labels = ("0", "1", "2", "3")
    assert prepared == Example(*text, images=("/content/drive/images/22jb.jpg",), choices=labels)
    given = ("cigarette", "cigarette", "cigar")
    assert official == Example(*text, images=("000000299207.jpg",), choices=labels, direct_answers=given)
    assert first.notes == second.notes == ()
    assert first.rows_in == first.rows_kept == 1


def test_labels_and_answers_are_written_as_set(tmp_path):
    (row,), _ = rows_of(tmp_path, [PREPARED], choice_labels="letters")
    assert (
        row.question
        == "What is in his mouth? The choices are A : toothpick, B : food, C : popsicle stick, D : cigarette"
    )
    assert row.answer == "D : cigarette"
    assert [rows_of(tmp_path, [OFFICIAL], answer=form)[0][0].answer for form in ("label", "text", "both")] == [
        "3", "cigarette", "3 : cigarette",
    ]  # fmt: skip


@pytest.mark.parametrize("answer", [3, "3", "cigarette", "3 : cigarette"])
def test_the_gold_answer_of_the_prepared_form_is_a_number_a_text_or_both(tmp_path, answer):
    (row,), _ = rows_of(tmp_path, [PREPARED | {"answer": answer}])
    assert row.answer == "3 : cigarette"


def test_one_rationale_is_chosen_whatever_the_order_of_rows_the_form_and_the_path(tmp_path):
    rows = [OFFICIAL | {"question": f"What is it, {number}?"} for number in range(60)]
    prepared = [
        PREPARED | {"image": f"{number}.jpg", "question": f"What is it, {number}?" + PREPARED["question"][21:]}
        for number in range(60)
    ]
    chosen = {row.question: row.steps for row in rows_of(tmp_path, rows, rationale="one")[0]}
    assert {row.question: row.steps for row in rows_of(tmp_path, rows[::-1], rationale="one")[0]} == chosen
    assert {row.question: row.steps for row in rows_of(tmp_path, prepared, rationale="one")[0]} == chosen
    assert {row.question: row.steps for row in rows_of(tmp_path, rows, rationale="one", seed=1)[0]} != chosen
    counts = Counter(chosen.values())
    assert set(counts) == {(rationale,) for rationale in RATIONALES}
    assert min(counts.values()) >= 10  # 20 expected, standard deviation 3.7


def test_the_sentences_are_those_of_the_one_rationale(tmp_path):
    expected = {
        (RATIONALES[0],): ("He's smoking while riding.", "the u.s. bans it."),
        (RATIONALES[1],): ("It glows.",),
        (RATIONALES[2],): ("The man is smoking.",),
    }
    rows = [OFFICIAL | {"question": f"What is it, {number}?"} for number in range(20)]
    ones, divided = (rows_of(tmp_path, rows, rationale=kind)[0] for kind in ("one", "sentences"))
    assert [expected[row.steps] for row in ones] == [row.steps for row in divided]


def test_rows_without_a_gold_answer_are_refused_or_counted(tmp_path):
    hidden = {key: OFFICIAL[key] for key in ("split", "image_id", "question_id", "question", "choices")}
    rows = [hidden, OFFICIAL, PREPARED | {"answer": None, "steps": None}]
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path, rows)
    reason = "as in the test split, whose answers are not published; give the train or the validation file"
    assert str(caught.value).splitlines()[1:] == [
        f"  row 1: no gold answer in 'correct_choice_idx', {reason}",
        f"  row 3: no gold answer in 'answer', {reason}",
    ]
    examples, ledger = rows_of(tmp_path, rows, max_bad_rows=2)
    assert [example.id for example in examples] == ["aokvqa/validation/2"]
    assert (ledger.rows_in, ledger.rows_kept, [each.row for each in ledger.rejected]) == (3, 1, [1, 3])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "Who?"}, "the keys are 'question'; a row has either image, question, steps and answer, or"),
        ({**PREPARED, **OFFICIAL}, "the keys are 'answer', 'choices'"),
        (PREPARED | {"answer": "4"}, "answer is the text '4'; it must be 0 to 3, or the text of one of the choices"),
        (PREPARED | {"answer": True}, "answer is the truth value True"),
        (PREPARED | {"answer": "3 : food"}, "answer is the text '3 : food'"),
        (PREPARED | {"question": "Who?"}, "no 'The choices are 0 : ...' in the text 'Who?'"),
        (PREPARED | {"question": "The choices are 0 : a, 1 : b, 2 : c, 3 : d"}, "nothing stands before the choices"),
        (PREPARED | {"question": "Who? The choices are 0 : a, 1 : b, 2 : c"}, "there are 3 choices"),
        (PREPARED | {"question": "Who? The choices are 0 : a, 1 : b, 2 : c, 3 : a"}, "the text 'a' is a choice more"),
        (PREPARED | {"question": "Who? The choices are 0 : a, 1 : , 2 : c, 3 : d"}, "choices is the list"),
        (PREPARED | {"steps": "a"}, "steps is the text 'a'; it must be a list of texts"),
        (PREPARED | {"image": ""}, "image is the text ''; it must be a text that is not empty"),
        ({key: PREPARED[key] for key in ("question", "steps", "answer")}, "no 'image'; found the keys"),
        (OFFICIAL | {"correct_choice_idx": 4}, "correct_choice_idx is the number 4; it must be a whole number"),
        (OFFICIAL | {"correct_choice_idx": -1}, "correct_choice_idx is the number -1"),
        (OFFICIAL | {"correct_choice_idx": False}, "correct_choice_idx is the truth value False"),
        (OFFICIAL | {"choices": [*CHOICES, "pipe"]}, "there are 5 choices"),
        (OFFICIAL | {"choices": ["a", "b", "c", "d, 1 : e"]}, "hold a label such as ', 1 :'"),
        (OFFICIAL | {"image_id": "299207"}, "image_id is the text '299207'"),
        (OFFICIAL | {"question": " "}, "question is the text ' '"),
        (OFFICIAL | {"rationales": [1]}, "rationales is the list [1]; it must be a list of texts"),
        ({key: value for key, value in OFFICIAL.items() if key != "rationales"}, "no 'rationales'; found the keys"),
        ([], "the list [] stands for a row"),
    ],
)  # fmt: skip
def test_bad_rows_are_named_with_place_and_reason(tmp_path, row, reason):
    with pytest.raises(DataError) as caught:
        rows_of(tmp_path, [OFFICIAL, row, PREPARED])
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"  row 2: {reason}") or reason in lines[1]
    examples, ledger = rows_of(tmp_path, [OFFICIAL, row, PREPARED], max_bad_rows=1)
    assert (ledger.rows_in, ledger.rows_kept, len(ledger.rejected), len(examples)) == (3, 2, 1, 2)


def test_lines_of_text_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([PREPARED, PREPARED])[:-30])
    with pytest.raises(DataError, match=r"is not valid JSON at line 1, .* in row 2"):
        AOKVQA(train=path).examples("train")
    path.write_text("image,question")
    with pytest.raises(DataError, match="row 1: the text 'image,question' stands for a row"):
        AOKVQA(train=path).examples("train")
    with pytest.raises(DataError, match=r"task aokvqa has no test file; set task\.test"):
        AOKVQA(train=path).examples("test")


def test_the_file_name_alone_counts_when_set(tmp_path):
    (row,), _ = rows_of(tmp_path, [PREPARED], image_paths="name", images=Path("photos"))
    assert row.images == ("22jb.jpg",)
    assert AOKVQA(images=Path("photos")).image_root == Path("photos")
    assert AOKVQA().has_images
    assert AOKVQA().words() is None
    assert AOKVQA().chance == 0.25


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("He smokes.\n### 3 : cigarette", Score("right", "3 : cigarette")),
        ("### 3", Score("right", "3 : cigarette")),
        ("### Cigarette.", Score("right", "3 : cigarette")),
        ("### food", Score("wrong", "1 : food")),
        ("### 3 : cigarette ### 1", Score("wrong", "1 : food")),
        ("### 3 : food", Score("no answer", None)),
        ("### pipe", Score("no answer", None)),
        ("3 : cigarette", Score("no answer", None)),
        ("### ", Score("no answer", None)),
    ],
)
def test_outputs_are_judged_by_the_choice_they_name(tmp_path, text, score):
    (row,), _ = rows_of(tmp_path, [OFFICIAL])
    assert AOKVQA().score(row, text) == score


def test_every_choice_can_be_written_as_an_answer(tmp_path):
    (row,), _ = rows_of(tmp_path, [OFFICIAL])
    assert AOKVQA().choices(row) == tuple(CHOICES)
    assert row.choices == ("0 : toothpick", "1 : food", "2 : popsicle stick", "3 : cigarette")


@pytest.mark.parametrize("form", ["label", "text", "both"])
def test_what_a_choice_is_worth_to_the_annotators_is_that_of_its_words(tmp_path, form):
    task = AOKVQA(answer=form)
    (row,), _ = rows_of(tmp_path, [OFFICIAL], answer=form)
    worth = [task.credit(row, task.score(row, f"### {choice}").predicted) for choice in row.choices]
    assert worth == [0, 0, 0, pytest.approx((1 / 3 + 1 / 3 + 2 / 3) / 3)]
    assert task.credit(row, None) == 0
    (prepared,), _ = rows_of(tmp_path, [PREPARED], answer=form)
    assert task.credit(prepared, prepared.answer) is None


@pytest.mark.parametrize("given", [[], ["cigarette"]])
def test_fewer_than_two_annotators_give_no_credit(tmp_path, given):
    (row,), _ = rows_of(tmp_path, [OFFICIAL | {"direct_answers": given}])
    assert row.direct_answers == tuple(given)
    assert AOKVQA().credit(row, row.answer) is None


def test_asked_directly_a_question_offers_nothing_and_the_commonest_answer_is_the_gold_one(tmp_path):
    given = ["cigar", "a cigarette", "cigarette", "a cigarette", "cigarette"]
    (row,), _ = rows_of(tmp_path, [OFFICIAL | {"direct_answers": given}], ask="direct", rationale="one")
    assert (row.question, row.answer, row.choices) == ("What is in his mouth?", "a cigarette", ())
    assert row.direct_answers == tuple(given)
    task = AOKVQA(ask="direct")
    assert task.score(row, "He smokes.\n### a  cigarette") == Score("right", "a cigarette")
    assert task.score(row, "### cigarette") == Score("wrong", "cigarette")
    assert task.score(row, "cigarette") == Score("no answer", None)
    # against each four of the five: both who said so, or one less
    assert task.credit(row, "Cigarette.") == pytest.approx((3 * 2 / 3 + 2 * 1 / 3) / 5)
    assert task.credit(row, "pipe") == 0
    with pytest.raises(DataError, match=r"row 1: it has no direct_answers, .* set task\.ask=choices"):
        rows_of(tmp_path, [PREPARED], ask="direct")


@pytest.mark.parametrize("kind", ["one", "sentences"])
def test_the_rationales_that_were_not_chosen_are_kept_for_other_epochs(tmp_path, kind):
    rows = [OFFICIAL | {"question": f"What is it, {number}?"} for number in range(20)]
    fixed = rows_of(tmp_path, rows, rationale=kind)[0]
    varied = rows_of(tmp_path, rows, rationale=kind, rationale_per="epoch")[0]
    assert [row.steps for row in varied] == [row.steps for row in fixed]
    assert {row.other_steps for row in fixed} == {()}
    for row in varied:
        assert sorted(" ".join(steps) for steps in (row.steps, *row.other_steps)) == sorted(RATIONALES)
    assert any(len(steps) == 2 for row in varied for steps in row.other_steps) == (kind == "sentences")


def test_all_rationales_at_once_are_not_one_an_epoch():
    with pytest.raises(ValidationError, match="set rationale to one or sentences, or rationale_per to row"):
        AOKVQA(rationale="each", rationale_per="epoch")


def test_settings_are_strict():
    for wrong in ({"rationale": "all"}, {"answer": "index"}, {"choice_labels": "roman"}, {"max_bad_rows": -1}):
        with pytest.raises(ValidationError):
            AOKVQA(**wrong)


def test_of_the_real_rows_three_offer_a_choice_twice(shared_data):
    path = shared_data / "aokvqa" / "validation_part.json"
    with pytest.raises(DataError, match=r"3 of 572 rows rejected, 569 kept; .* task.max_bad_rows=3"):
        AOKVQA(validation=path).examples("validation")
    examples, ledger = AOKVQA(validation=path, max_bad_rows=3).examples("validation")
    assert (len(examples), ledger.rows_in, [each.row for each in ledger.rejected]) == (569, 572, [25, 81, 254])
    assert "the text 'road' is a choice more than once" in ledger.rejected[0].reason


@pytest.mark.parametrize("labels", ["numbers", "letters"])
@pytest.mark.parametrize("form", ["label", "text", "both"])
def test_all_real_rows_keep_their_words_and_their_answers_read_right(shared_data, form, labels):
    path = shared_data / "aokvqa" / "validation_part.json"
    source = json.loads(path.read_text())
    task = AOKVQA(validation=path, repeated_choices="keep", answer=form, choice_labels=labels, rationale="each",
                  image_paths="name")  # fmt: skip
    examples, ledger = task.examples("validation")
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected) == (572, 572, ())
    assert ledger.notes == ("3 rows with two equal choices, which count as one answer; kept",)
    for row, example in zip(source, examples, strict=True):
        gold = int(row["answer"])
        assert list(example.steps) == [" ".join(step.split()) for step in row["steps"]]
        assert example.images == (Path(row["image"]).name,)
        if labels == "numbers":
            assert example.question == " ".join(row["question"].split())
        assert example.choices[gold] == example.answer
        verdicts = [task.score(example, f"### {answer}").verdict for answer in example.choices]
        offered = task.choices(example)
        assert verdicts == ["right" if each == offered[gold] else "wrong" for each in offered]


def test_one_rationale_of_each_real_row_is_chosen_evenly(shared_data):
    path = shared_data / "aokvqa" / "validation_part.json"
    source = json.loads(path.read_text())
    ones, divided = (
        AOKVQA(test=path, repeated_choices="keep", rationale=kind).examples("test")[0] for kind in ("one", "sentences")
    )
    places = Counter(
        [" ".join(step.split()) for step in row["steps"]].index(one.steps[0])
        for row, one in zip(source, ones, strict=True)
    )
    assert sum(places.values()) == 572
    assert all(150 <= places[place] <= 232 for place in range(3))  # 190.7 expected, standard deviation 11.3
    assert all(" ".join(each.steps) == one.steps[0] for one, each in zip(ones, divided, strict=True))
    assert sum(len(each.steps) > 1 for each in divided) >= 20
