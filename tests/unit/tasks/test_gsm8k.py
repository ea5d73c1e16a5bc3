"""GSM8K: three formats are read to the letter, and an answer is right only when its number is exactly the gold one."""

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from unspoken.errors import DataError
from unspoken.records import Example, Score, TextFormat
from unspoken.tasks.gsm8k import GSM8K

RELEASED = Path(__file__).parents[3] / "../shared/data/gsm8k"
needs_released = pytest.mark.skipif(not RELEASED.is_dir(), reason="the released GSM8K files are not on this machine")

LINE = "Two pens of 3 hens, one flies. How many stay?||<<2*3=6>> <<6-1=5>> #### 5"
ORIGINAL = {
    "question": "Two pens of 3 hens, one flies. How many stay?",
    "answer": "There are 2*3=<<2*3=6>>6 hens.\n\nThen 6-1 = $<<6-1=5>>5 stay.\n#### 5",
}


def gold(answer):
    return Example("1", "How many?", (), answer)


def read(path, **settings):
    return GSM8K(train=path, **settings).examples("train")


def write(folder, lines, name):
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_line_is_cut_into_question_equations_and_answer(tmp_path):
    examples, ledger = read(write(tmp_path, [LINE, "", "q||#### 1,080"], "train.txt"))
    assert examples == (
        Example("gsm8k/train/1", "Two pens of 3 hens, one flies. How many stay?", ("<<2*3=6>>", "<<6-1=5>>"), "5"),
        Example("gsm8k/train/3", "q", (), "1,080"),
    )
    assert (ledger.rows_in, ledger.rows_kept) == (2, 2)
    assert ledger.notes == ("1 row without steps: a curriculum has nothing to replace by thoughts there",)


def test_an_equation_stays_one_step_with_spaces_around_and_in_it(tmp_path):
    lines = ["a||<<1 + 1=2>>  <<2*2=4>> #### 4", "b|| <<1+1=2>><<2*2=4>> ####4", "c||1+1=2 2*2=4 #### 4"]
    assert [example.steps for example in read(write(tmp_path, lines, "train.txt"))[0]] == [
        ("<<1 + 1=2>>", "<<2*2=4>>"),
        ("<<1+1=2>>", "<<2*2=4>>"),
        ("1+1=2", "2*2=4"),
    ]


def test_a_question_may_hold_the_marks_of_an_answer(tmp_path):
    examples, _ = read(write(tmp_path, ["What is #### 7 ### 8? # 9||<<1+1=2>> #### 2"], "train.txt"))
    assert examples[0].question == "What is #### 7 ### 8? # 9"
    assert examples[0].answer == "2"


def test_the_original_gives_equations_or_sentences(tmp_path):
    path = write(tmp_path, [json.dumps(ORIGINAL)], "train.jsonl")
    assert read(path)[0][0].steps == ("<<2*3=6>>", "<<6-1=5>>")
    assert read(path, steps="sentences")[0][0].steps == ("There are 2*3=6 hens.", "Then 6-1 = $5 stay.")
    assert read(path)[0][0].answer == "5"


def test_the_format_of_the_release_is_read_as_it_is(tmp_path):
    rows = [
        {"question": "q", "steps": ["<<2*3=6>>", "<<6-1=5>>"], "answer": "5"},
        {"question": "r", "steps": [""], "answer": 7},
    ]
    path = tmp_path / "train.json"
    path.write_text(json.dumps(rows))
    examples, ledger = read(path)
    assert [(each.steps, each.answer) for each in examples] == [(("<<2*3=6>>", "<<6-1=5>>"), "5"), ((), "7")]
    assert ledger.notes == (
        "1 row without steps: a curriculum has nothing to replace by thoughts there",
        "1 row with a step without text, which is left out",
    )


NUMBER = "it must be a number, else no output could be right"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("no bar #### 5", "no || in the text 'no bar #### 5'; write question||step step #### answer"),
        ("q||<<1+1=2>>||<<2+2=4>> #### 4", "|| stands more than once; it may only end the question"),
        ("q||<<1+1=2>> 2", "no #### stands in the text '<<1+1=2>> 2'; write it once, before the answer"),
        ("q||#### 5 #### 6", "#### stands 2 times in the text '#### 5 #### 6'; write it once, before the answer"),
        (" ||#### 5", "nothing stands before ||; write the question there"),
        ("q||<<1+1=2>> ####", f"answer is the text ''; {NUMBER}"),
        ("q||<<1+1=2>> #### two", f"answer is the text 'two'; {NUMBER}"),
        ("q||#### 5 apples", f"answer is the text '5 apples'; {NUMBER}"),
        ("q||#### 1/0", f"answer is the text '1/0'; {NUMBER}"),
        ("q \0||#### 5", r"the character U+0000 stands in the text 'q \x00'; remove or replace it"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path, bad, reason):
    path = write(tmp_path, [LINE, LINE, bad, LINE], "train.txt")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 1 of 4 rows rejected, 3 kept; mend them, or set task.max_bad_rows=1 to leave them out",
        f"  row 3: {reason}",
    ]
    assert len(read(path, max_bad_rows=1)[0]) == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"question": "q"}, "no 'answer'; found the keys 'question'; add it, or rename the key that holds it"),
        ({"question": "q", "answer": 5}, "answer is the number 5; it must be a text that is not empty"),
        ({"question": "q", "answer": "5"}, "no 'steps', and no #### in answer, the text '5'; add the one or the other"),
        ({"question": "", "answer": "#### 5"}, "question is the text ''; it must be a text that is not empty"),
        ({"question": "q", "answer": "#### five"}, f"answer is the text 'five'; {NUMBER}"),
        (
            {"question": "q", "answer": "#### 5\n#### 6"},
            r"#### stands 2 times in the text '#### 5\n#### 6'; write it once, before the answer",
        ),
        ({"question": "q", "steps": [], "answer": "five"}, f"answer is the text 'five'; {NUMBER}"),
        (
            {"question": "q", "steps": "<<1+1=2>>", "answer": "2"},
            "steps is the text '<<1+1=2>>'; it must be a list of texts, one for each step, or []",
        ),
    ],
)
def test_a_bad_object_is_named_by_its_number(tmp_path, bad, reason):
    path = write(tmp_path, [json.dumps(ORIGINAL), json.dumps(bad)], "train.jsonl")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).splitlines()[1:] == [f"  row 2: {reason}"]


RIGHT = [
    # gold, generated text
    ("72", "### 72"),
    ("72", "###72"),
    ("72", "#### 72"),
    ("72", "<<48/2=24>>\n<<48+24=72>>\n### 72"),
    ("72", "### 72\n"),
    ("72", "###\n72"),
    ("72", "###  72  "),
    ("72", "### 72.0"),
    ("72", "### 72.00"),
    ("72", "### 72."),
    ("72", "### $72"),
    ("72", "### $72.00."),
    ("72", "### 72%"),
    ("72", "### +72"),
    ("72", "### 072"),
    ("72", "### 144/2"),
    ("72", "### 71 ### 72"),
    ("72", "### 72\nQuestion: what next?"),
    ("72", "### 72\n70 71 73"),
    ("72.0", "### 72"),
    ("$72", "### 72"),
    ("1,080", "### 1080"),
    ("1080", "### 1,080"),
    ("109,200,000", "### 109200000"),
    ("1,080", "### $1,080.00"),
    ("-3", "### -3"),
    ("-3", "### - 3"),
    ("-3", "### \N{MINUS SIGN}3"),
    ("-3", "### -$3"),
    ("-3", "### $-3"),
    ("0.5", "### .5"),
    ("0.5", "### 1/2"),
    ("1/2", "### 0.50"),
    ("1/3", "### 2/6"),
    ("5%", "### 5"),
    ("0", "### 0.0"),
    ("0", "### -0"),
]
WRONG = [
    ("72", "### 73"),
    ("72", "### 720"),
    ("72", "### 7"),
    ("72", "### -72"),
    ("72", "### 72.01"),
    ("72", "### 71.9999999999999999999"),
    ("72", "### 0.72"),
    ("72", "### 72 ### 73"),
    ("72", "<<48+24=72>>\n### 24"),
    ("72", "### 7.2"),
    ("1080", "### 1.080"),
    ("5%", "### 0.05"),
    ("1/3", "### 0.333333333333"),
    ("-3", "### 3"),
    ("9007199254740993", "### 9007199254740992"),
    ("0", "### 1"),
]
NO_ANSWER = [
    ("72", ""),
    ("72", "72"),
    ("72", "The answer is 72."),
    ("72", "<<48+24=72>>"),
    ("72", "## 72"),
    ("72", "# 72"),
    ("72", "# # # 72"),
    ("72", "###"),
    ("72", "### \n \n"),
    ("72", "### 72 ###"),
    ("72", "### 72 apples"),
    ("72", "### 72 or 73"),
    ("72", "### 70 72"),
    ("72", "### about 72"),
    ("72", "### <<48+24=72>>"),
    ("72", "### 48+24"),
    ("72", "### 7 2"),
    ("72", "### 7,2"),
    ("1080", "### 10,80"),
    ("72", "### seventy-two"),
    ("72", "### 7.2e1"),
    ("3", "### \N{ARABIC-INDIC DIGIT THREE}"),
    ("72", "### 72/0"),
    ("72", "### __import__('os').system('true')"),
    ("0", "### none"),
]


def test_the_table_of_outputs_is_long_enough_to_mean_something():
    assert len({*RIGHT, *WRONG, *NO_ANSWER}) == len(RIGHT) + len(WRONG) + len(NO_ANSWER) == 78


@pytest.mark.parametrize(("answer", "text"), RIGHT)
def test_the_exact_number_is_right_however_it_is_written(answer, text):
    assert GSM8K().score(gold(answer), text).verdict == "right"


@pytest.mark.parametrize(("answer", "text"), WRONG)
def test_another_number_is_wrong(answer, text):
    score = GSM8K().score(gold(answer), text)
    assert score.verdict == "wrong"
    assert score.predicted is not None


@pytest.mark.parametrize(("answer", "text"), NO_ANSWER)
def test_what_is_no_number_is_no_answer(answer, text):
    assert GSM8K().score(gold(answer), text) == Score("no answer", None)


def test_the_predicted_number_is_reported_in_one_spelling():
    assert GSM8K().score(gold("72"), "### $1,234.50") == Score("wrong", "1234.5")


def test_an_answer_in_the_prompt_never_counts():
    outputs = ("I do not know.", "<<1+1=2>>", "##", "### ", "### it is above")
    questions = (
        f"{start} ### {answer} {end}" for answer in range(5) for start in "abcd" for end in ("", "#### 7", "x")
    )
    examples = [Example("1", question, (), question.split("### ")[1].split(" ")[0]) for question in questions]
    verdicts = Counter(GSM8K().score(example, output).verdict for example in examples for output in outputs)
    assert verdicts == {"no answer": 300}


def test_the_format_and_the_room_to_answer_follow_the_settings():
    assert GSM8K().text == TextFormat(" ", "\n", "\n", "### ")
    assert GSM8K().max_new_tokens == 128
    assert GSM8K(steps="sentences").max_new_tokens == 320


@needs_released
def test_the_released_validation_rows_are_all_read():
    examples, ledger = GSM8K(validation=RELEASED / "aug_valid.json").examples("validation")
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected) == (500, 500, ())
    assert ledger.notes == (
        "6 rows without steps: a curriculum has nothing to replace by thoughts there",
        "6 rows with a step without text, which is left out",
    )
    assert Counter(len(each.steps) for each in examples) == {
        0: 6,
        1: 26,
        2: 155,
        3: 140,
        4: 91,
        5: 53,
        6: 18,
        7: 8,
        8: 3,
    }
    assert examples[0].steps == ("<<4-2=2>>", "<<2/.5=4>>", "<<12/4=3>>", "<<100*3=300>>")
    assert [each.answer for each in examples if "," in each.answer] == ["5,000", "30,000", "27,200", "3,380"]
    assert all(GSM8K().score(each, f"### {each.answer}").verdict == "right" for each in examples)


@needs_released
def test_the_released_rows_read_the_same_from_their_text_lines(tmp_path):
    rows = json.loads((RELEASED / "aug_valid.json").read_text())
    lines = [f"{row['question']}||{' '.join(row['steps'])} #### {row['answer']}" for row in rows]
    from_text = GSM8K(validation=write(tmp_path, lines, "valid.txt")).examples("validation")[0]
    assert from_text == GSM8K(validation=RELEASED / "aug_valid.json").examples("validation")[0]


@needs_released
def test_the_original_training_rows_are_all_read():
    equations, ledger = read(RELEASED / "train.jsonl")
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected) == (7473, 7473, ())
    assert ledger.notes == ("95 rows without steps: a curriculum has nothing to replace by thoughts there",)
    assert sum(len(each.steps) for each in equations) == 23716
    assert all(step.startswith("<<") and step.endswith(">>") for each in equations for step in each.steps)
    sentences, ledger = read(RELEASED / "train.jsonl", steps="sentences")
    assert ledger.rows_kept == 7473
    assert sentences[0].steps == (
        "Natalia sold 48/2 = 24 clips in May.",
        "Natalia sold 48+24 = 72 clips altogether in April and May.",
    )
    assert not any("<<" in step or ">>" in step for each in sentences for step in each.steps)
    assert sum("," in each.answer for each in equations) == 79


def numbered(count, start=0):
    """Rows of the original format, each with another answer."""
    return [
        {"question": f"{n} and {n} hens?", "answer": f"{n}+{n} = <<{n}+{n}={2 * n}>>{2 * n} hens.\n#### {2 * n}"}
        for n in range(start, start + count)
    ]


def saved(folder, **splits):
    data = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
    datasets.DatasetDict(data).save_to_disk(folder / "saved")
    return str(folder / "saved")


def test_the_rows_of_a_data_set_read_as_those_of_a_file(tmp_path):
    rows = [ORIGINAL, *numbered(2)]
    file = write(tmp_path, [json.dumps(row) for row in rows], "train.jsonl")
    for kind in ("equations", "sentences"):
        task = GSM8K(dataset=saved(tmp_path, train=rows, test=numbered(1, 7)), dataset_config="main", steps=kind)
        assert task.examples("train") == read(file, steps=kind)
    assert task.examples("train")[0][0].steps == ("There are 2*3=6 hens.", "Then 6-1 = $5 stay.")
    assert [each.answer for each in task.examples("test")[0]] == ["14"]


def test_a_configuration_of_a_data_set_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "gsm8k"
    for place, config in enumerate(("main", "socratic")):
        path = folder / config / "train-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        datasets.Dataset.from_list(numbered(1, place)).to_parquet(path)
    configs = [
        {"config_name": config, "data_files": [{"split": "train", "path": f"{config}/train-*"}]}
        for config in ("main", "socratic")
    ]
    (folder / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n")
    answers = {
        config: GSM8K(dataset=str(folder), dataset_config=config).examples("train")[0][0].answer
        for config in ("main", "socratic")
    }
    assert answers == {"main": "0", "socratic": "2"}
    with pytest.raises(DataError, match=r"cannot be loaded \(Config name is missing"):
        GSM8K(dataset=str(folder)).examples("train")


def test_validation_rows_are_the_last_of_training_and_no_longer_train(tmp_path):
    folder, file = saved(tmp_path, train=numbered(5), test=numbered(2, 7)), tmp_path / "train.jsonl"
    write(tmp_path, [json.dumps(row) for row in numbered(5)], file.name)
    for task in (GSM8K(dataset=folder, held_out=2), GSM8K(train=file, held_out=2)):
        train, validation = (task.examples(split) for split in ("train", "validation"))
        assert [each.answer for each in train[0]] == ["0", "2", "4"]
        assert [each.answer for each in validation[0]] == ["6", "8"]
        assert [ledger.rows_in for _, ledger in (train, validation)] == [3, 2]
        assert [each.id for each in validation[0]] == ["gsm8k/validation/4", "gsm8k/validation/5"]
    assert len(GSM8K(dataset=folder, held_out=2).examples("test")[0]) == 2
    with pytest.raises(DataError, match=r"has 5 rows, of which task\.held_out=5 would leave none for training"):
        GSM8K(train=file, held_out=5).examples("train")
    with pytest.raises(DataError, match=r"has no split validation among train, test"):
        GSM8K(dataset=folder).examples("validation")
    with pytest.raises(ValueError, match="leave one of them out"):
        GSM8K(train=file, validation=file, held_out=2)


def test_a_held_out_row_that_is_bad_is_one_of_validation(tmp_path):
    lines = [*(json.dumps(row) for row in numbered(3)), "{"]
    task = GSM8K(train=write(tmp_path, lines, "train.jsonl"), held_out=2)
    assert len(task.examples("train")[0]) == 2
    with pytest.raises(DataError, match="1 of 2 rows rejected"):
        task.examples("validation")


@needs_released
def test_the_original_rows_are_the_same_from_a_data_set(tmp_path):
    rows = [json.loads(line) for line in (RELEASED / "train.jsonl").read_text().splitlines()][:700]
    task = GSM8K(dataset=saved(tmp_path, train=rows), held_out=500, steps="sentences")
    (train, _), (validation, ledger) = task.examples("train"), task.examples("validation")
    whole = read(RELEASED / "train.jsonl", steps="sentences")[0][:700]
    assert [each.question for each in (*train, *validation)] == [each.question for each in whole]
    assert (len(train), len(validation), ledger.rejected) == (200, 500, ())
