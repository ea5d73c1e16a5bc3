import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import get_scheduler

from unspoken.config import TrainSettings
from unspoken.data.loader import Batches, StagedDataset
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import word_tokenizer, words_of
from unspoken.errors import DataError, RecipeError
from unspoken.plan import plan, render
from unspoken.plan.sample import num_special_words, vocabulary_of, word_tokens
from unspoken.plan.stage_table import learning_rate
from unspoken.recipe import load_recipe, resolve
from unspoken.recipe.batching import split_batch
from unspoken.recipe.shipped import shipped_recipes
from unspoken.records import Example, TextFormat
from unspoken.tasks import TASKS
from unspoken.training.train import train

TRAINED = "tests/models/hops-coconut"
SMALL = {"train_rows": 50, "validation_rows": 12, "test_rows": 3}


def planned(**sections):
    return plan(resolve({"task": {"name": "hops", **SMALL}, "method": {"name": "coconut"}, **sections}, "x"))


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_be_planned(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pictures are drawn there
    text = render(plan(load_recipe(name)))
    assert "epochs" in text
    assert max(map(len, text.splitlines())) <= 120
    without_data = ("no data yet", "counted when they are loaded")
    complaints = [
        line for line in text.splitlines() if line.startswith("!") and not any(each in line for each in without_data)
    ]
    mixes = getattr(load_recipe(name).method, "mix", 0)
    assert complaints == ["! mix: 10% of the rows are laid out at another stage than the table says"] * bool(mixes)


def test_the_stage_table_says_what_is_trained():
    table = planned(
        method={"name": "coconut", "max_stage": 2, "epochs_per_stage": [3, 2, 1], "thoughts_per_step": 2},
        train={"epochs": 9, "batch_size": 10, "reset_optimizer": "stage"},
    ).stages
    assert [
        (row.first_epoch, row.last_epoch, row.stage, row.thoughts, row.written, row.optimizer) for row in table
    ] == [
        (0, 2, 0, (0, 0), "steps 1-4, answer", "new"),
        (3, 4, 1, (2, 2), "steps 2-4, answer", "reset"),
        (5, 8, 2, (4, 4), "steps 3-4, answer", "reset"),
    ]
    # four letters, the answer and the end; markers and thoughts are read, not written
    assert [row.num_written for row in table] == [6.0, 5.0, 4.0]
    # eight pairs of letters, a question of two words, two markers, thoughts, words
    assert [row.length for row in table] == [26.0, 27.0, 28.0]


def test_every_method_has_its_own_words_for_what_is_left():
    def written(**method):
        return [row.written for row in planned(method=method, train={"epochs": 3}).stages]

    assert written(name="cot") == ["steps 1-4, answer"]
    assert written(name="no_cot") == ["answer"]
    assert written(name="coconut", epochs_per_stage=0) == ["answer"]
    assert written(name="superposition", epochs_per_stage=1) == ["1 word", "1 word", "1 word"]
    assert written(name="icot", remove_per_epoch=1) == ["steps 1-4, answer", "steps 2-4, answer", "steps 3-4, answer"]
    task = {"name": "multiplication", **SMALL}
    icot = planned(task=task, method={"name": "icot", "remove_per_epoch": 3}, train={"epochs": 2}).stages
    assert [row.written for row in icot] == ["steps 1-4, answer", "43 of 46 words of the steps, answer"]


def test_a_run_that_starts_later_skips_the_first_stages():
    later = planned(method={"name": "coconut", "epochs_per_stage": 2}, train={"epochs": 8, "first_epoch": 3})
    assert [(row.first_epoch, row.stage) for row in later.stages] == [(3, 1), (4, 2), (6, 3)]
    assert later.total_steps == 5 * later.steps_per_epoch


def test_rows_with_fewer_steps_may_get_fewer_thoughts():
    found = planned(task={"name": "prosqa", **SMALL}, method={"name": "coconut", "pad_thoughts": False})
    counts = [len(example.steps) for example in found.recipe.task.examples("validation")[0]]
    assert found.stages[-1].thoughts == (min(counts), max(counts))
    assert min(counts) < max(counts)
    assert any("tell the model how many steps" in warning for warning in found.warnings)


def test_steps_are_those_of_the_loader():
    found = planned(train={"batch_size": 8, "micro_batch_size": 2})
    dataset = StagedDataset(list(range(50)), lambda *_: None, 0)
    parts = found.batching.processes * found.batching.accumulation
    batches = Batches(dataset, [1] * 50, 8, parts, 0)
    assert found.steps_per_epoch == len(batches) // parts == 7


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "expected"),
    [(64, None, 1, (64, 1)), (64, None, 4, (16, 1)), (64, 8, 2, (8, 4)), (128, 32, 4, (32, 1))],
)
def test_a_step_is_cut_by_processes_and_micro_batches(batch, micro, processes, expected):
    cut = split_batch(TrainSettings(batch_size=batch, micro_batch_size=micro), processes)
    assert (cut.micro, cut.accumulation) == expected


def test_a_step_that_cannot_be_cut_is_refused():
    with pytest.raises(RecipeError, match="64 is not a multiple of 3 processes x 22 rows"):
        split_batch(TrainSettings(batch_size=64), 3)


def test_the_processes_are_those_that_torchrun_announces(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert planned(train={"batch_size": 8}).batching.processes == 2


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_learning_rates_are_those_of_the_library(schedule, warmup):
    settings = TrainSettings(learning_rate=0.1, lr_schedule=schedule, warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    for step in range(20):
        assert learning_rate(settings, step, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("name", ["hops", "prosqa", "prontoqa", "multiplication"])
def test_words_are_counted_as_the_tokenizer_counts_them(name):
    task = TASKS[name](**SMALL)
    examples, _ = task.examples("validation")
    tokenizer = word_tokenizer(task.words())
    real, counted = tokenize(examples, task.text, tokenizer), word_tokens(examples, task.text)
    for one, other in zip(real, counted, strict=True):
        assert [len(piece) for piece in (*one.premises, *one.questions, *one.steps, one.answer)] == [
            len(piece) for piece in (*other.premises, *other.questions, *other.steps, other.answer)
        ]
        assert one.answer_start == other.answer_start
    assert vocabulary_of(examples, task.text) == set(words_of(examples, task.text))
    assert len(tokenizer) == num_special_words() + len(set(task.words()))


def test_words_of_choices_and_of_further_reasonings_are_counted():
    row = Example("1", "what?", ("a step",), "b", choices=("b", "c d"), other_steps=(("e f", "g"), ("h",)))
    assert vocabulary_of([row], TextFormat()) == set(words_of([row], TextFormat())) >= set("bcdefgh")


def test_parameters_include_those_of_the_thought_source():
    plain = planned().num_parameters
    assert planned(thoughts={"name": "window", "size": 3, "weights": "learned"}).num_parameters == plain + 3
    width = 128
    assert planned(thoughts={"name": "projection"}).num_parameters == plain + 2 * (width * width + width) + 2 * width


def test_data_that_is_not_there_yet_leaves_the_rest_of_the_plan():
    found = planned(task={"name": "gsm8k"}, model={"path": "openai-community/gpt2"})
    assert (found.rows, found.total_steps, found.estimate) == (None, None, None)
    assert found.num_parameters == 124_442_112
    assert found.stages[2].thoughts == (2, 2)
    assert any("set task.train" in warning for warning in found.warnings)


def test_a_data_set_is_not_loaded_for_a_plan(tmp_path):
    (found,) = planned(task={"name": "scienceqa", "dataset": str(tmp_path)}, method={"name": "cot"}).warnings
    assert found == f"the rows of the data set {tmp_path} are counted when they are loaded, not here"


@pytest.mark.parametrize(("kind", "per_word"), [("WordLevel", 1.0), ("BPE", 1.6)])
def test_a_word_is_one_token_where_the_tokenizer_says_so(tmp_path, kind, per_word):
    (tmp_path / "tokenizer.json").write_text(f'{{"model": {{"type": "{kind}"}}}}')
    lengths = [planned(model={"tokenizer": name}).stages[0].length for name in (None, str(tmp_path))]
    assert lengths[1] == pytest.approx(per_word * lengths[0])


def test_data_files_are_counted_and_must_be_good(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "steps": ["1+1=2"], "answer": "2"}\n' * 5)
    found = planned(task={"name": "custom", "train": str(path), "validation": str(path)}, train={"batch_size": 2})
    assert (found.rows, found.steps_per_epoch) == (5, 3)
    assert found.num_parameters is not None
    with pytest.raises(DataError, match=r"absent\.json does not exist"):
        planned(task={"name": "custom", "train": str(tmp_path / "absent.json")})


def custom_files(tmp_path, **questions):
    """A task of files: a row for each question."""
    for split, asked in questions.items():
        rows = [{"question": question, "steps": ["1 + 1 = 2"], "answer": "2"} for question in asked]
        (tmp_path / f"{split}.json").write_text(json.dumps(rows))
    return {"name": "custom", **{split: str(tmp_path / f"{split}.json") for split in questions}}


def test_every_file_is_read_before_training_is(tmp_path):
    task = custom_files(tmp_path, train=["1 + 1"])
    with pytest.raises(DataError, match=r"task custom has no validation file; set task\.validation"):
        planned(task=task)
    with pytest.raises(DataError) as refused:
        planned(task={**task, "validation": str(tmp_path / "a.json"), "test": str(tmp_path / "b.json")})
    assert [f"{name}.json does not exist" in str(refused.value) for name in "ab"] == [True, True]


def test_words_that_no_training_row_has_are_named(tmp_path):
    task = custom_files(tmp_path, train=["1 + 1"], validation=["100 + 1"], test=["7 + zebra", "1 + 1"])
    with pytest.raises(DataError) as refused:
        planned(task=task)
    lines = str(refused.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["task.validation", "task.test"]
    assert "has them: '100'; set model.tokenizer to a subword tokenizer" in lines[0]
    assert "has them: '7', 'zebra'; set" in lines[1]
    assert planned(task=task, model={"path": "gpt2"}).rows == 1


def test_questions_of_training_in_other_files_are_counted(tmp_path):
    task = custom_files(tmp_path, train=["1 + 1", "2 + 1"], validation=["1 +  1"], test=["1 + 2"])
    warnings = planned(task=task).warnings
    assert [warning for warning in warnings if "training row asks" in warning] == [
        "1 validation row asks what a training row asks, so it may be remembered; `unspoken data check` names them"
    ]


def test_images_that_are_not_there_are_named(tmp_path):
    task = custom_files(tmp_path, train=["1 + 1"], validation=["1 + 1"])
    rows = [{"question": "1 + 1", "steps": [], "answer": "2", "image": "absent.png"}]
    (tmp_path / "validation.json").write_text(json.dumps(rows))
    sections = {"task": {**task, "images": str(tmp_path)}, "model": {"vision": {"train_encoder": True}}}
    with pytest.raises(DataError, match=r"'absent.png' \(row 'custom/validation/1'\): the file does not exist"):
        planned(**sections)
    assert planned(task={**task, "images": str(tmp_path)}).rows == 1


def test_a_precision_that_this_machine_lacks_is_said(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert any("fp16 needs a GPU" in each for each in planned(train={"precision": "fp16"}).warnings)
    assert not any("fp16" in each for each in planned(train={"precision": "bf16"}).warnings)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"train": {"epochs": 3}}, "training ends at stage 0 of 7"),
        ({"train": {"batch_size": 64}}, "50 rows are fewer than train.batch_size=64"),
        ({"method": {"name": "coconut", "max_stage": 9}}, "no row of the sample has more than 4 steps"),
        ({"method": {"name": "coconut", "mix": 0.3}}, "mix: 30% of the rows"),
        ({"model": {"path": "gpt2", "layers": 12}}, "model.layers has no effect"),
        ({"model": {"max_positions": 24}}, "takes about 28 positions, the model has 24"),
    ],
)
def test_what_may_not_be_meant_is_said(sections, expected):
    assert any(expected in warning for warning in planned(**sections).warnings)


def test_estimates_grow_with_what_they_estimate():
    def estimated(**sections):
        return planned(**{"train": {"batch_size": 16, "epochs": 5}, **sections}).estimate

    base = estimated()
    assert estimated(model={"layers": 8, "width": 512}).memory > 1.5 * base.memory
    assert estimated(train={"batch_size": 16, "epochs": 10}).seconds > 1.5 * base.seconds
    assert estimated(train={"batch_size": 16, "micro_batch_size": 4, "epochs": 5}).memory < base.memory
    assert estimated(model={"checkpoint_passes": True}).memory < base.memory
    assert estimated(model={"lora": {"rank": 2}}).checkpoint < base.checkpoint
    assert "GFLOP/s" in base.basis or "TFLOP/s" in base.basis


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize(
    "model", [{}, {"train_decoder": False}, {"lora": {"rank": 2}}], ids=["all", "around the decoder", "adapters"]
)
def test_a_checkpoint_is_planned_as_large_as_it_gets(model, tmp_path):
    recipe = resolve(
        {
            "task": {"name": "hops", "symbols": 8, "hops": 4, "train_rows": 4, "validation_rows": 2},
            "model": {"path": TRAINED, **model},
            "method": {"name": "coconut", "epochs_per_stage": 0, "max_stage": 1, "markers": False},
            "thoughts": {"name": "projection"},
            "train": {"epochs": 1, "batch_size": 4, "save": "end"},
            "evaluate": {"max_new_tokens": 2},
        },
        "test",
    )
    folder = train(recipe, tmp_path / "run") / "checkpoints" / "checkpoint-1"
    weights = [path.stat().st_size for path in [*folder.glob("*.safetensors"), folder / "optimizer.pt"]]
    # beside the numbers there are their names
    assert plan(recipe).estimate.checkpoint == pytest.approx(sum(weights), rel=0.05)


def test_a_frozen_language_model_takes_the_memory_of_its_weights_alone():
    def memory(**model):
        sections = {"thoughts": {"name": "projection"}, "method": {"name": "coconut", "epochs_per_stage": 0}}
        return planned(model={"path": "meta-llama/Meta-Llama-3-8B", **model}, **sections).estimate.memory

    billion = 8.03e9
    assert memory() - memory(train_decoder=False) == pytest.approx(12 * billion, rel=0.01)
    assert memory() - memory(lora={"rank": 8}) == pytest.approx(12 * billion, rel=0.01)


def test_a_plan_is_made_without_torch():
    code = "import sys; from unspoken.cli import main; main(['plan', 'hops/coconut']); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.endswith("False\n")


def test_an_answer_whose_start_is_given_is_still_the_answer():
    task = {"name": "prosqa", "rendering": "symbols", "max_hops": 4, **SMALL}
    found = planned(task=task, method={"name": "superposition", "epochs_per_stage": 1}, train={"epochs": 6})
    assert [row.written for row in found.stages] == ["1 word"] * 4 + ["answer"]
