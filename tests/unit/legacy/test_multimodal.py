"""The files of MultiCoCo become recipes on images, and say so key by key."""

import json
from pathlib import Path

import pytest

from unspoken.errors import RecipeError
from unspoken.legacy import is_legacy, translate
from unspoken.legacy.multimodal import MULTIMODAL_KEYS
from unspoken.legacy.released import KEYS
from unspoken.plan import plan
from unspoken.recipe import open_recipe, resolve
from unspoken.recipe.strict_yaml import parse_yaml

# as its README has it
SHORT = """\
name: coconut_aokvqa_gunadeep
model_id: gpt2
project: coconut_aokvqa_guna
resume: 0
train_path: /path/to/aokvqa_train.json
val_path: /path/to/aokvqa_validation.json
coconut: true
num_epochs: 25
batch_size_training: 3
c_thought: 2
max_latent_stage: 8
epochs_per_stage: 2
lr: 5e-5
save_path: checkpoints
"""
FURTHER = {
    "seed": 42, "bf16": False, "load_model_path": None, "reset_optimizer": False, "only_eval": False,
    "save_only_improve": True, "debug": False, "no_thoughts": False, "cot": False, "no_cot": False,
    "pad_latent_to_max": True, "uniform_prob": 0.1, "gradient_accumulation_steps": 1, "weight_decay": 0.0,
}  # fmt: skip
"""What the file itself has besides."""
LATER = {
    "project": "multicoco-coconut", "name": "multicoco-coconut-stage1plus", "model_id": "gpt2-xl",
    "clip_id": "openai/clip-vit-large-patch14", "train_path": "data/A-OKVQA/aokvqa_train.json",
    "val_path": "data/A-OKVQA/aokvqa_validation.json", "save_path": "checkpoints/coconut_aokvqa",
    "batch_size_training": 4, "batch_size_eval": 8, "num_epochs": 20, "lr": 2e-5, "weight_decay": 0.01, "seed": 42,
    "resume": 0, "max_length": 256, "c_thought": 2, "max_latent_stage": 4, "epochs_per_stage": 4,
}  # fmt: skip
"""A file of its last version, which has no flag for the method."""


def values(**changes):
    return parse_yaml(SHORT, "aokvqa.yaml") | changes


def recipe(given):
    return resolve(translate(given).recipe, "aokvqa.yaml")


def said(key, given):
    return next(line for line in translate(given).said if line.startswith(f"{key}: "))


def problems(given):
    with pytest.raises(RecipeError) as error:
        translate(given, 1, "aokvqa.yaml")
    return error.value.problems


def test_the_file_of_the_readme_becomes_a_recipe_on_images():
    assert is_legacy(values())
    translated = recipe(values())
    assert translated.task.model_dump(exclude_defaults=True, mode="json") == {
        "train": "/path/to/aokvqa_train.json",
        "validation": "/path/to/aokvqa_validation.json",
        "images": "/path/to",
        "answer": "label",
        "repeated_choices": "keep",
        "rationale": "each",
    }
    assert translated.task.name == "aokvqa"
    model = translated.model.model_dump(exclude_defaults=True)
    assert model == {"path": "gpt2", "vision": {"path": "openai/clip-vit-base-patch32", "features": "pooled"}}
    method = translated.method
    assert (method.name, method.thoughts_per_step, method.max_stage, method.epochs_per_stage) == ("coconut", 2, 8, 2)
    assert [method.stage(epoch) for epoch in (0, 1, 2, 15, 16, 24)] == [0, 0, 1, 7, 8, 9]
    train = translated.train
    assert (train.epochs, train.first_epoch, train.batch_size, train.micro_batch_size) == (25, 0, 3, 3)
    assert (train.learning_rate, train.reset_optimizer, train.precision) == (5e-5, "never", "fp32")
    assert translate(values()).run == Path("checkpoints/coconut_aokvqa_gunadeep")


@pytest.mark.parametrize("given", [values(), values(**FURTHER), LATER], ids=["readme", "file", "later"])
def test_every_key_is_spoken_of_once_in_the_order_of_the_file(given):
    lines = translate(given).said
    assert [line.partition(":")[0] for line in lines] == list(given)
    assert all(" -> " in line or " has no effect" in line for line in lines)


def test_what_images_change_is_said():
    given = values(**FURTHER)
    assert said("model_id", given) == (
        "model_id: gpt2 -> model.path: gpt2; an image is one slot before the question, what "
        "openai/clip-vit-base-patch32 makes of it (model.vision), where the original adds it to the first word"
    )
    assert said("train_path", given).endswith(
        "images are read in /path/to alone, by their paths in the rows; task.images=FOLDER names another folder, "
        "task.image_paths=name takes the file names alone; each rationale is a step, though they are no chain"
    )
    assert said("val_path", given).endswith("; task.name: aokvqa, by the names of these files")
    assert said("bf16", given).endswith("the original trains in fp16 on a GPU, as train.precision=fp16 does")
    assert said("batch_size_training", given).endswith("x 1 process = train.batch_size: 3")
    assert said("lr", values()).endswith("with train.reset_optimizer: never, as in the original")
    assert said("lr", given) == "lr: 5e-05 -> train.learning_rate: 5e-05"


def test_the_file_itself_becomes_settings_too():
    translated = recipe(values(**FURTHER))
    train = translated.train
    assert (train.seed, train.weight_decay, train.save, train.reset_optimizer) == (42, 0.0, "improvement", "never")
    assert (translated.method.mix, translated.method.pad_thoughts) == (0.1, True)
    assert recipe(values(**FURTHER, **{"model_id": "x"}) | {"bf16": True}).train.precision == "bf16"


def test_a_later_file_names_its_encoder_and_no_method():
    translated = recipe(LATER)
    assert translated.model.vision.path == "openai/clip-vit-large-patch14"
    assert translated.evaluate.batch_size == 8
    assert (translated.method.name, translated.method.max_stage, translated.method.epochs_per_stage) == (
        "coconut",
        4,
        4,
    )
    assert "no row is cut off" in said("max_length", LATER)
    stages = {"c_thought", "max_latent_stage", "epochs_per_stage"}
    without = {key: value for key, value in LATER.items() if key not in stages}
    assert recipe(without).method.name == "cot"


def test_scienceqa_is_known_by_the_names_of_its_files():
    given = values(train_path="A/scienceqa_coconut_train.json", val_path="A/scienceqa_coconut_val.json")
    task = recipe(given).task
    assert (task.name, task.answer, task.repeated_choices, str(task.images)) == ("scienceqa", "text", "keep", "A")
    assert "rationale" not in said("train_path", given)


def test_files_of_the_released_coconut_stay_what_they_are():
    given = values(train_path="aokvqa/gsm_train.json", val_path="aokvqa/gsm_valid.json")
    assert recipe(given).task.name == "custom"
    assert recipe(given).model.vision is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"e_steps": 2, "latent_lr": 1e-3}, "latent_lr, e_steps: vectors fitted to each training row with its answer"),
        ({"clip_idd": "x"}, "clip_idd: the released code has no such key; did you mean clip_id?"),
        ({"cot": True}, "coconut and cot are True together"),
        ({"coconut": False}, "none of coconut, cot, no_thoughts, no_cot is True"),
        ({"lr": None}, "lr: it is missing"),
        ({"name": "../x"}, "cannot name a run directory"),
        ({"resume": 10}, "resume: checkpoints/coconut_aokvqa_gunadeep/checkpoint_10.pt does not exist"),
        (
            {"clip_id": "x", "train_path": "a.json", "val_path": "b.json"},
            "val_path: neither it nor train_path says aokvqa or scienceqa",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes, expected):
    (problem,) = problems(values(**changes))
    assert expected in problem


def test_a_checkpoint_is_resumed_from_where_the_original_puts_it(tmp_path):
    file = tmp_path / "coconut_aokvqa_gunadeep" / "checkpoint_10.pt"
    file.parent.mkdir()
    file.touch()
    given = values(save_path=str(tmp_path), resume=10)
    translated = recipe(given)
    assert (translated.model.weights, translated.train.first_epoch) == (file, 10)
    assert f"model.weights: {file}; give the run another directory with --out" in said("resume", given)


def test_its_file_has_a_key_twice_which_is_named(tmp_path):
    path = tmp_path / "aokvqa.yaml"
    path.write_text(SHORT + "name: run_1_aokvqa_baseline\n")
    with pytest.raises(RecipeError) as error:
        open_recipe(path)
    assert error.value.problems == ("line 15: the key 'name' stands there again, first in line 1; keep one",)


def test_such_a_file_is_planned_without_a_hub(tmp_path, shared_data):
    rows = json.loads((shared_data / "aokvqa" / "validation_part.json").read_text())
    named = [{**row, "image": Path(row["image"]).name} for row in rows]
    for split in ("train", "validation"):
        (tmp_path / f"aokvqa_{split}.json").write_text(json.dumps(named))
    for row in named:
        (tmp_path / row["image"]).touch()  # that it is there is enough for a plan
    path = tmp_path / "aokvqa.yaml"
    path.write_text(SHORT.replace("/path/to", str(tmp_path)))
    planned = plan(open_recipe(path).recipe)
    assert (planned.rows, planned.steps_per_epoch) == (572, 191)
    assert [stage.stage for stage in planned.stages] == list(range(10))
    assert [stage.thoughts[1] for stage in planned.stages] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 16]


def test_mistakes_name_the_key_and_line_of_the_file(tmp_path):
    path = tmp_path / "aokvqa.yaml"
    path.write_text(SHORT.replace("epochs_per_stage: 2", "epochs_per_stage: -2") + "clip_id: 7\n")
    with pytest.raises(RecipeError) as error:
        open_recipe(path)
    assert error.value.problems == (
        "model.vision.path (clip_id, line 15): it must be a text; found the number 7",
        "method.epochs_per_stage (epochs_per_stage, line 12): it must be greater than or equal to 0 or a list; "
        "found the number -2",
    )


def test_the_keys_are_those_of_the_released_code_and_its_own():
    assert sorted(MULTIMODAL_KEYS - KEYS) == [
        "batch_size_eval", "clip_id", "e_steps", "latent_dim", "latent_lr", "load_4bit", "max_length", "n_latents",
        "use_flash_attention_2",
    ]  # fmt: skip
