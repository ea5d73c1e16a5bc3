"""The released data and the released YAML files, through the real command, on a model that fits a test."""

import numpy as np
import pytest

from unspoken import cli
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import load_tokenizer, thought_tokens, word_tokenizer, words_of
from unspoken.evaluation.evaluate import evaluate
from unspoken.files import read_json, read_json_lines, write_json
from unspoken.methods.coconut import Coconut
from unspoken.recipe import resolve
from unspoken.records import IGNORED
from unspoken.run_directory import open_run
from unspoken.tasks.gsm8k import GSM8K
from unspoken.tasks.prosqa import ProsQA
from unspoken.training.supervised import train


@pytest.fixture
def unspoken(capsys):
    """Runs a command in this process; its exit code, stdout and stderr."""

    def unspoken(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return unspoken


# ---- ProsQA


@pytest.mark.parametrize("task", ["prosqa", "custom"])
def test_the_released_prosqa_rows_pass_the_check(task, shared_data, unspoken):
    path = shared_data / "prosqa" / "valid.json"
    code, out, err = unspoken("data", "check", path, "--task", task)
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}: 300 rows in = 300 kept + 0 rejected\n")


def read_prosqa(shared_data):
    """The released validation rows, read as the task does, with a tokenizer of their words."""
    task = ProsQA(validation=shared_data / "prosqa" / "valid.json")
    examples, ledger = task.examples("validation")
    return task, examples, ledger, word_tokenizer(words_of(examples, task.text))


def test_at_every_stage_every_released_row_is_laid_out_once_and_loses_exactly_its_first_steps(shared_data):
    task, examples, ledger, tokenizer = read_prosqa(shared_data)
    assert (ledger.rows_in, ledger.rows_kept, len(ledger.rejected)) == (300, 300, 0)
    raw = read_json(shared_data / "prosqa" / "valid.json")
    rows = tokenize(examples, task.text, tokenizer)
    tokens, method = thought_tokens(tokenizer), Coconut()
    assert method.final_stage == 7
    seen = []
    for stage in range(method.final_stage + 1):
        for row, released in zip(rows, raw, strict=True):
            staged = method.layout(row, stage, tokens, None)
            seen.append((stage, staged.id))
            kept = [] if stage == 7 else released["steps"][stage:]
            trained = staged.labels[staged.labels != IGNORED]
            expected = "".join(f"{step}\n" for step in kept) + f"### {released['answer']}"
            words = tokenizer(expected, add_special_tokens=False)["input_ids"]
            assert trained.tolist() == [*words, tokenizer.eos_token_id]
            assert staged.num_thoughts == (staged.input_ids == tokens.latent).sum() == min(stage, 6)
            question = sum(map(len, row.premises)) + len(row.questions[0])
            assert len(staged.input_ids) == question + 2 + min(stage, 6) + len(trained)
            assert np.array_equal(staged.input_ids[-len(trained) :], trained)
    assert len(seen) == len(set(seen)) == 8 * 300


def test_a_model_answers_all_released_rows(shared_data, tmp_path):
    recipe = resolve(
        {
            "task": {
                "name": "prosqa",
                "validation": str(shared_data / "prosqa" / "valid.json"),
                "train_rows": 4,
                "test_rows": 1,
            },
            "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 512},
            "method": {"name": "coconut", "epochs_per_stage": 0},
            "train": {"epochs": 1, "batch_size": 4, "save": "end", "validation_rows": 2},
            "evaluate": {"max_new_tokens": 3},
        },
        "test",
    )
    run = train(recipe, tmp_path / "run")
    results = evaluate(run)
    assert results["n"] == results["controls"]["zero"]["n"] == 300
    assert results["thoughts_per_answer"] == 6
    released = read_json(shared_data / "prosqa" / "valid.json")
    for name in ("predictions.jsonl", "predictions.zero.jsonl"):
        rows = read_json_lines(run / name)
        assert [row["id"] for row in rows] == [f"prosqa/validation/{number}" for number in range(1, 301)]
        assert [(row["question"], row["expected"]) for row in rows] == [
            (row["question"], row["answer"]) for row in released
        ]


# ---- GSM8K


@pytest.mark.parametrize(
    ("file", "steps", "count"), [("aug_valid.json", "equations", 500), ("train.jsonl", "sentences", 7473)]
)
def test_gsm8k_survives_the_tokenizer_of_gpt2_and_its_answers_are_scored_right(file, steps, count, shared_data):
    tokenizer = load_tokenizer(str(shared_data / "gpt2-tokenizer"))
    task = GSM8K(train=shared_data / "gsm8k" / file, steps=steps)
    examples, ledger = task.examples("train")
    assert (ledger.rows_in, len(examples)) == (count, count)
    for example in examples:
        answer = task.score(example, f"nonsense {task.text.answer_start}{example.answer}")
        assert answer.verdict == "right"
    some = examples[:: max(count // 500, 1)]
    for example, row in zip(some, tokenize(some, task.text, tokenizer), strict=True):
        words = np.concatenate([row.questions[0], *row.steps, row.answer])
        written = "".join([f"{example.question}\n", *(f"{step}\n" for step in example.steps), f"### {example.answer}"])
        assert tokenizer.decode(words.tolist()) == f"{written}<|endoftext|>"
        assert words.max() < 50257, "no text becomes a thought token"
        assert tokenizer.decode(row.answer[: row.answer_start].tolist()) == "###"


# ---- the YAML files


def released(folder, model, **changes):
    """A released file, key by key in its order, with the values of gsm_coconut where nothing else is said."""
    keys = {
        "project": "coconut",
        "save_path": folder / "out",
        "name": "gsm-coconut",
        "only_eval": False,
        "coconut": True,
        "cot": False,
        "no_thoughts": False,
        "no_cot": False,
        "c_thought": 2,
        "epochs_per_stage": 3,
        "max_latent_stage": 3,
        "pad_latent_to_max": True,
        "save_only_improve": False,
        "uniform_prob": 0.0,
        "model_id": model,
        "load_model_path": "None",
        "seed": 0,
        "resume": 3,
        "bf16": False,
        "train_path": folder / "gsm_train.json",
        "val_path": folder / "gsm_valid.json",
        "reset_optimizer": True,
        "batch_size_training": 32,
        "debug": False,
        "gradient_accumulation_steps": 1,
        "num_epochs": 25,
        "lr": '!!float "1e-4"',
        "weight_decay": 0.01,
    }
    assert changes.keys() <= keys.keys()
    path = folder / f"{changes.get('name', 'gsm-coconut')}.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in {**keys, **changes}.items()))
    return path


COT = {
    "name": "gsm-cot",
    "coconut": False,
    "cot": True,
    "c_thought": 0,
    "epochs_per_stage": 1,
    "max_latent_stage": 0,
    "save_only_improve": True,
    "resume": 0,
    "reset_optimizer": False,
}
QUICK = ("evaluate.max_new_tokens=4", "train.keep_checkpoints=1", "train.log_every=1")
"""What makes a test of it; every other setting is that of the file."""


def lines_of(err):
    """What the command says about the keys."""
    first, *lines = [line.removeprefix("unspoken: ") for line in err.split("\n") if line.startswith("unspoken: ")]
    assert first == "this is a file of the released Coconut; it is read as"
    return [line.strip() for line in lines if line.startswith("  ")]


def stages_in(run):
    stages = [line["stage"] for line in read_json_lines(run / "metrics.jsonl") if "loss" in line]
    return {stage: stages.count(stage) for stage in stages}


def test_the_released_gsm_files_run_one_after_the_other(tiny_gpt2, shared_data, tmp_path, unspoken):
    rows = read_json(shared_data / "gsm8k" / "aug_valid.json")
    folder = tmp_path / "files"
    folder.mkdir()
    write_json(folder / "gsm_train.json", rows[:4])
    write_json(folder / "gsm_valid.json", rows[4:7])

    # gsm_cot.yaml: 25 epochs in words, the best of them kept
    code, out, err = unspoken("train", released(folder, tiny_gpt2, **COT), *QUICK)
    cot = folder / "out" / "gsm-cot"
    assert (code, out) == (0, f"{cot}\n"), err
    assert stages_in(cot) == {0: 25}
    opened = open_run(cot)
    assert (opened.recipe.method.name, opened.recipe.train.save) == ("cot", "improvement")
    assert (opened.recipe.task.scoring, opened.recipe.task.max_new_tokens) == ("number", 64)

    # gsm_coconut.yaml: begins with that model at epoch 3 of the schedule
    code, out, err = unspoken("train", released(folder, tiny_gpt2, load_model_path=cot), *QUICK)
    run = folder / "out" / "gsm-coconut"
    assert (code, out) == (0, f"{run}\n"), err
    assert lines_of(err) == [
        "project: coconut has no effect; train.report_to=wandb logs to Weights & Biases",
        f"save_path: {folder}/out -> --out {run}",
        f"name: gsm-coconut -> --out {run}",
        "only_eval: False -> training",
        "coconut: True -> method.name: coconut",
        "cot: False -> nothing, the method is coconut",
        "no_thoughts: False -> nothing, the method is coconut",
        "no_cot: False -> nothing, the method is coconut",
        "c_thought: 2 -> method.thoughts_per_step: 2",
        "epochs_per_stage: 3 -> method.epochs_per_stage: 3",
        "max_latent_stage: 3 -> method.max_stage: 3",
        "pad_latent_to_max: True -> method.pad_thoughts: True",
        "save_only_improve: False -> train.save: epoch",
        "uniform_prob: 0.0 -> method.mix: 0.0",
        f"model_id: {tiny_gpt2} has no effect, the model is read from load_model_path",
        f"load_model_path: {cot} -> model.path: {cot}",
        "seed: 0 -> train.seed: 0",
        "resume: 3 -> train.first_epoch: 3; training begins there in the schedule, nothing is continued",
        "bf16: False -> train.precision: fp32",
        f"train_path: {folder}/gsm_train.json -> task.train: {folder}/gsm_train.json",
        f"val_path: {folder}/gsm_valid.json -> task.validation: {folder}/gsm_valid.json; "
        "answers are compared as numbers, up to 64 tokens",
        "reset_optimizer: True -> train.reset_optimizer: epoch, as the released code does; "
        "the paper says at every stage",
        "batch_size_training: 32 -> train.micro_batch_size: 32; "
        "32 rows x 1 accumulated x 1 process = train.batch_size: 32 (the published runs had 4)",
        "debug: False has no effect; to try something out, train fewer epochs: train.epochs=1",
        "gradient_accumulation_steps: 1 -> train.batch_size, see batch_size_training",
        "num_epochs: 25 -> train.epochs: 25",
        "lr: 0.0001 -> train.learning_rate: 0.0001",
        "weight_decay: 0.01 -> train.weight_decay: 0.01",
    ]
    assert stages_in(run) == {1: 3, 2: 3, 3: 3, 4: 13}
    first = read_json_lines(run / "metrics.jsonl")[0]
    assert (first["step"], first["epoch"]) == (1, 3)
    assert open_run(run).stage == 4

    # gsm_coconut_eval.yaml: no training, the validation file answered with six thoughts
    evaluation = {"name": "gsm-coconut-eval", "only_eval": True, "load_model_path": run, "resume": 14}
    before = {path.name for path in (folder / "out").iterdir()}
    code, out, err = unspoken("train", released(folder, tiny_gpt2, **evaluation))
    assert code == 0, err
    assert "only_eval: True -> load_model_path is evaluated on val_path" in lines_of(err)
    assert "resume: 14 has no effect, the run at load_model_path knows its stage" in lines_of(err)
    assert out.startswith("condition ")
    assert {path.name for path in (folder / "out").iterdir()} == before
    results = read_json(run / "results.json")
    assert (results["n"], results["data"]) == (3, str(folder / "gsm_valid.json"))
    assert (results["stage"], results["thoughts_per_answer"]) == (4, 6)
    assert [row["expected"] for row in read_json_lines(run / "predictions.jsonl")] == [
        row["answer"] for row in rows[4:7]
    ]


def test_the_released_prosqa_file_runs(tiny_gpt2, shared_data, tmp_path, unspoken):
    rows = read_json(shared_data / "prosqa" / "valid.json")
    folder = tmp_path / "files"
    folder.mkdir()
    write_json(folder / "prosqa_train.json", rows[:4])
    write_json(folder / "prosqa_valid.json", rows[4:7])
    changes = {
        "name": "prosqa-coconut",
        "c_thought": 1,
        "epochs_per_stage": 5,
        "max_latent_stage": 6,
        "resume": 0,
        "num_epochs": 50,
        "train_path": folder / "prosqa_train.json",
        "val_path": folder / "prosqa_valid.json",
    }
    path = released(folder, tiny_gpt2, **changes)
    # every stage for one epoch; the schedule of the file itself is asked of the plan
    code, out, err = unspoken("plan", path)
    assert code == 0, err
    epochs = [line.split()[0] for line in out.split("\n") if line.strip()[:1].isdigit()]
    assert epochs == ["0-4", "5-9", "10-14", "15-19", "20-24", "25-29", "30-34", "35-49"]
    code, out, err = unspoken("train", path, *QUICK, "train.epochs=8", "method.epochs_per_stage=1")
    run = folder / "out" / "prosqa-coconut"
    assert (code, out) == (0, f"{run}\n"), err
    said = lines_of(err)
    keys = [line.partition(":")[0] for line in path.read_text().splitlines()]
    assert [line.partition(":")[0] for line in said] == keys
    assert f"model_id: {tiny_gpt2} -> model.path: {tiny_gpt2}" in said
    assert "load_model_path: None has no effect, training begins with model_id" in said
    assert "resume: 0 -> train.first_epoch: 0" in said
    assert any(line.endswith("answers are compared as texts, up to 128 tokens") for line in said)
    assert stages_in(run) == dict.fromkeys(range(8), 1)

    evaluation = {**changes, "name": "prosqa-coconut-eval", "only_eval": True, "load_model_path": run, "resume": 40}
    code, out, err = unspoken("train", released(folder, tiny_gpt2, **evaluation))
    assert code == 0, err
    results = read_json(run / "results.json")
    assert (results["n"], results["stage"], results["thoughts_per_answer"]) == (3, 7, 6)
    assert [row["expected"] for row in read_json_lines(run / "predictions.jsonl")] == [
        row["answer"] for row in rows[4:7]
    ]


def test_a_released_file_is_not_run_twice_into_the_same_directory(tiny_gpt2, tmp_path, unspoken):
    folder = tmp_path / "files"
    (folder / "out" / "gsm-cot").mkdir(parents=True)
    (folder / "out" / "gsm-cot" / "checkpoint_3").touch()
    write_json(folder / "gsm_train.json", [])
    write_json(folder / "gsm_valid.json", [])
    code, out, err = unspoken("train", released(folder, tiny_gpt2, **COT))
    assert (code, out) == (2, "")
    assert f"{folder}/out/gsm-cot is not empty; continue its run with --resume" in err
