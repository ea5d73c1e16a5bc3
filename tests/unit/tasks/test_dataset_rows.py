"""Rows of a `datasets` data set become the examples that a file gives, and its images files with the same bytes."""

import builtins
import hashlib
import io
import subprocess
import sys

import datasets
import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Picture

from unspoken.errors import DataError
from unspoken.files import write_json
from unspoken.tasks.aokvqa import AOKVQA
from unspoken.tasks.scienceqa import ScienceQA

TEXT, TEXTS = Value("string"), List(Value("string"))
AOKVQA_COLUMNS = Features(
    {
        "image": Image(), "question_id": TEXT, "question": TEXT, "choices": TEXTS, "correct_choice_idx": Value("int8"),
        "direct_answers": TEXT, "difficult_direct_answer": Value("bool"), "rationales": TEXTS,
    }
)  # fmt: skip
SCIENCEQA_COLUMNS = Features(
    {
        "image": Image(), "question": TEXT, "choices": TEXTS, "answer": Value("int8"), "hint": TEXT, "task": TEXT,
        "lecture": TEXT, "solution": TEXT,
    }
)  # fmt: skip
CHOICES = ["toothpick", "food", "popsicle stick", "cigarette"]


@pytest.fixture(autouse=True)
def _caches_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encoded(colour, kind="PNG"):
    buffer = io.BytesIO()
    Picture.new("RGB", (8, 6), colour).save(buffer, kind)
    return buffer.getvalue()


PNG, JPEG, WEBP = encoded("red"), encoded("blue", "JPEG"), encoded("green", "WEBP")


def name_of(data, extension):
    return hashlib.sha256(data).hexdigest() + extension


def annotation(number=1, data=PNG, **changes):
    return {
        "image": {"bytes": data, "path": "x"},
        "question_id": "22jb",
        "question": f"What is in mouth {number}?",
        "choices": CHOICES,
        "correct_choice_idx": 3,
        "direct_answers": "['cigarette', 'cigarette', \"smoker's pipe\"]",
        "difficult_direct_answer": False,
        "rationales": ["He smokes.", "It glows.", "There is smoke."],
        **changes,
    }


def saved(folder, rows, columns=AOKVQA_COLUMNS, split="validation"):
    DatasetDict({split: Dataset.from_list(rows, features=columns)}).save_to_disk(folder / "saved")
    return str(folder / "saved")


def as_parquet(folder, rows, columns=AOKVQA_COLUMNS, split="validation"):
    (folder / "parquet" / "data").mkdir(parents=True)
    path = folder / "parquet" / "data" / f"{split}-00000-of-00001.parquet"
    Dataset.from_list(rows, features=columns).to_parquet(path)
    return str(folder / "parquet")


@pytest.mark.parametrize("store", [saved, as_parquet])
def test_rows_are_those_of_a_file_but_for_the_images_whose_bytes_are_kept(tmp_path, store):
    rows = [annotation(1, PNG), annotation(2, JPEG), annotation(3, WEBP), annotation(4, PNG)]
    task = AOKVQA(dataset=store(tmp_path, rows), images=tmp_path / "images")
    examples, ledger = task.examples("validation")
    official = [
        {
            "image_id": number,
            "question": row["question"],
            "choices": row["choices"],
            "correct_choice_idx": 3,
            "direct_answers": ["cigarette", "cigarette", "smoker's pipe"],
            "rationales": row["rationales"],
        }
        for number, row in enumerate(rows)
    ]
    write_json(tmp_path / "rows.json", official)
    expected = AOKVQA(validation=tmp_path / "rows.json").examples("validation")[0]
    texts = [(row.id, row.question, row.steps, row.answer, row.direct_answers) for row in expected]
    assert [(row.id, row.question, row.steps, row.answer, row.direct_answers) for row in examples] == texts
    assert examples[0].direct_answers == ("cigarette", "cigarette", "smoker's pipe")
    names = [name_of(PNG, ".png"), name_of(JPEG, ".jpg"), name_of(WEBP, ""), name_of(PNG, ".png")]
    assert [row.images for row in examples] == [(name,) for name in names]
    written = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert written == dict(zip(names, [PNG, JPEG, WEBP, PNG], strict=True))
    assert (ledger.rows_in, ledger.rows_kept, ledger.rejected, ledger.notes) == (4, 4, (), ())


def test_an_image_is_written_once_and_a_damaged_one_again(tmp_path):
    task = AOKVQA(dataset=saved(tmp_path, [annotation()]), images=tmp_path / "images")
    task.examples("validation")
    path = tmp_path / "images" / name_of(PNG, ".png")
    before = path.stat()
    task.examples("validation")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.write_bytes(PNG[:-10])
    task.examples("validation")
    assert path.read_bytes() == PNG


def test_a_file_goes_before_the_data_set(tmp_path):
    row = {"image": "a.jpg", "question": "Q? The choices are 0 : a, 1 : b, 2 : c, 3 : d", "steps": ["s"], "answer": "1"}
    write_json(tmp_path / "rows.json", [row])
    task = AOKVQA(train=tmp_path / "rows.json", dataset=saved(tmp_path, [annotation()]), images=tmp_path / "images")
    assert [row.images for row in task.examples("train")[0]] == [("a.jpg",)]
    assert [row.images for row in task.examples("validation")[0]] == [(name_of(PNG, ".png"),)]


def test_prepared_rows_may_be_a_data_set_too(tmp_path):
    columns = Features({"image": Image(), "question": TEXT, "steps": TEXTS, "answer": TEXT})
    question = "Q? The choices are 0 : a, 1 : b, 2 : c, 3 : d"
    row = {"image": {"bytes": JPEG, "path": None}, "question": question, "steps": ["It is b."], "answer": "1"}
    task = AOKVQA(dataset=saved(tmp_path, [row], columns), images=tmp_path / "images")
    (example,), _ = task.examples("validation")
    assert (example.question, example.steps, example.answer) == (question, ("It is b.",), "1 : b")
    assert example.images == (name_of(JPEG, ".jpg"),)


def test_problems_of_scienceqa_with_and_without_an_image(tmp_path):
    problem = {
        "question": "Which is farthest\nnorth?", "choices": ["Maine", "Ohio, USA", "Texas"], "answer": 0,
        "hint": "Look up.", "task": "closed choice", "lecture": "North is up.", "solution": "Maine is it.",
    }  # fmt: skip
    rows = [{**problem, "image": {"bytes": PNG, "path": "image.png"}}, {**problem, "image": None, "lecture": ""}]
    task = ScienceQA(dataset=saved(tmp_path, rows, SCIENCEQA_COLUMNS, "test"), images=tmp_path / "images")
    examples, ledger = task.examples("test")
    assert [row.id for row in examples] == ["scienceqa/test/1", "scienceqa/test/2"]
    asked = "Which is farthest north? Hint: Look up. The choices are 0 : Maine, 1 : Ohio, USA, 2 : Texas"
    assert {row.question for row in examples} == {asked}
    assert [row.steps for row in examples] == [("North is up.", "Maine is it."), ("Maine is it.",)]
    assert [row.images for row in examples] == [(name_of(PNG, ".png"),), ()]
    assert (ledger.rows_in, ledger.rows_kept) == (2, 2)


def test_bad_rows_are_named(tmp_path):
    rows = [
        annotation(1),
        annotation(2, correct_choice_idx=None, rationales=[], direct_answers=None),
        annotation(3, image=None),
        annotation(4, direct_answers="cigarette"),
        annotation(5, image={"bytes": None, "path": "/etc/hostname"}),
    ]
    task = AOKVQA(dataset=saved(tmp_path, rows[:4]), images=tmp_path / "images")
    with pytest.raises(DataError) as caught:
        task.examples("validation")
    head, *lines = str(caught.value).splitlines()
    assert head.startswith(f"{tmp_path}/saved (validation): 3 of 4 rows rejected, 1 kept; ")
    assert [line.partition(";")[0] for line in lines] == [
        "  row 2: no gold answer in 'correct_choice_idx', as in the test split, whose answers are not published",
        "  row 3: image is null",
        "  row 4: direct_answers is the text 'cigarette'",
    ]
    examples, ledger = task.model_copy(update={"max_bad_rows": 3}).examples("validation")
    assert [row.id for row in examples] == ["aokvqa/validation/1"]
    assert [each.row for each in ledger.rejected] == [2, 3, 4]

    other = tmp_path / "other"
    other.mkdir()
    task = AOKVQA(dataset=as_parquet(other, [rows[0], rows[4]]), images=other / "images")
    with pytest.raises(DataError, match=r"row 2: image holds no bytes but the text '/etc/hostname'; save the data set"):
        task.examples("validation")
    assert [path.name for path in (other / "images").iterdir()] == [name_of(PNG, ".png")]


def test_what_is_no_such_data_set_is_refused(tmp_path):
    folder = saved(tmp_path, [annotation()])
    with pytest.raises(DataError, match=r"has no split test among validation; set task\.test to a file"):
        AOKVQA(dataset=folder).examples("test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty cannot be loaded \(.*\); correct task\.dataset"):
        AOKVQA(dataset=str(tmp_path / "empty")).examples("train")
    next((tmp_path / "saved" / "validation").glob("*.arrow")).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"saved cannot be loaded \(.*\); correct task\.dataset"):
        AOKVQA(dataset=folder).examples("validation")
    paths = Dataset.from_list([{"image": "a.png", "question": "Q?"}])
    paths.save_to_disk(tmp_path / "paths")
    with pytest.raises(DataError, match="no column 'image' of the type Image; found image: Value, question: Value"):
        AOKVQA(dataset=str(tmp_path / "paths")).examples("train")
    with pytest.raises(
        DataError, match=r"task aokvqa has no train file; set task\.train .* or task\.dataset to the id"
    ):
        AOKVQA().examples("train")


def test_a_data_set_without_splits_is_for_training_and_an_empty_one_is_refused(tmp_path):
    Dataset.from_list([annotation()], features=AOKVQA_COLUMNS).save_to_disk(tmp_path / "one")
    task = AOKVQA(dataset=str(tmp_path / "one"), images=tmp_path / "images")
    assert len(task.examples("train")[0]) == 1
    with pytest.raises(DataError, match="has no split validation among train"):
        task.examples("validation")
    none = Dataset.from_dict({name: [] for name in AOKVQA_COLUMNS}, features=AOKVQA_COLUMNS)
    none.save_to_disk(tmp_path / "none")
    with pytest.raises(DataError, match=r"none cannot be loaded"):
        AOKVQA(dataset=str(tmp_path / "none")).examples("train")
    (tmp_path / "parquet").mkdir()
    none.to_parquet(tmp_path / "parquet" / "train.parquet")
    with pytest.raises(DataError, match=r"parquet cannot be loaded"):
        AOKVQA(dataset=str(tmp_path / "parquet")).examples("train")


def test_without_its_hub_an_id_is_refused_with_what_to_do(tmp_path):
    code = (
        "from unspoken.tasks.aokvqa import AOKVQA\nfrom unspoken.errors import DataError\n"
        "try: AOKVQA(dataset='HuggingFaceM4/A-OKVQA').examples('train')\nexcept DataError as error: print(error)"
    )
    cache = str(tmp_path / "cache")
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": cache, "HOME": cache, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        "the data set HuggingFaceM4/A-OKVQA is no folder here and its hub cannot be reached ("
    )
    assert "unset HF_HUB_OFFLINE), or set task.dataset to a folder that save_to_disk wrote" in done.stdout


def test_without_the_package_its_installation_is_named(monkeypatch):
    usual = builtins.__import__

    def without_datasets(name, *arguments, **keywords):
        if name.partition(".")[0] == "datasets":
            raise ImportError("No module named 'datasets'")
        return usual(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_datasets)
    with pytest.raises(DataError, match=r"needs the package datasets; install it: pip install datasets"):
        AOKVQA(dataset="HuggingFaceM4/A-OKVQA").examples("train")
