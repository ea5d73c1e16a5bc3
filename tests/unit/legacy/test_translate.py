from pathlib import Path

import pytest

from unspoken.errors import RecipeError
from unspoken.legacy import is_legacy, translate
from unspoken.legacy.released import KEYS
from unspoken.recipe import load_recipe, open_recipe, resolve
from unspoken.recipe.strict_yaml import parse_yaml

GSM = """\
project: coconut
save_path: out
name: gsm-coconut

only_eval: False

coconut: True
cot: False
no_thoughts: False
no_cot: False

c_thought: 2
epochs_per_stage: 3
max_latent_stage: 3
pad_latent_to_max: True

save_only_improve: False
uniform_prob: 0.0
model_id: openai-community/gpt2
load_model_path: None
seed: 0
resume: 3
bf16: False
train_path: data/gsm_train.json
val_path: data/gsm_valid.json
reset_optimizer: True
batch_size_training: 32
debug: False
gradient_accumulation_steps: 1
num_epochs: 25
lr: !!float "1e-4"
weight_decay: 0.01
"""


def values(**changes):
    return parse_yaml(GSM, "gsm.yaml") | changes


def recipe(world_size=1, **changes):
    return resolve(translate(values(**changes), world_size).recipe, "gsm.yaml")


def said(key, world_size=1, **changes):
    return next(line for line in translate(values(**changes), world_size).said if line.startswith(f"{key}: "))


def problems(**changes):
    with pytest.raises(RecipeError) as error:
        translate({key: value for key, value in values(**changes).items() if value != "absent"}, 1, "gsm.yaml")
    return error.value.problems


def test_released_files_are_recognised():
    assert values().keys() == KEYS
    assert is_legacy(values())
    assert is_legacy({"model_id": "gpt2", "cot": True, "lr": 1e-4})
    assert not is_legacy({"lr": 1e-4, "seed": 0})
    assert not is_legacy({"task": {"name": "hops"}, "lr": 1e-4, "seed": 0, "name": "x"})


def test_every_key_becomes_a_setting():
    translated = recipe(world_size=4)
    assert translated.task.model_dump(exclude_defaults=True, mode="json") == {
        "train": "data/gsm_train.json",
        "validation": "data/gsm_valid.json",
        "scoring": "number",
        "max_answer_tokens": 64,
    }
    assert translated.model.model_dump(exclude_defaults=True) == {"path": "openai-community/gpt2"}
    assert translated.method.model_dump() | {"redraw": False} == {
        "name": "coconut",
        "thoughts_per_step": 2,
        "max_stage": 3,
        "epochs_per_stage": 3,
        "pad_thoughts": True,
        "mix": 0.0,
        "markers": True,
        "released_counts": False,
        "redraw": False,
    }
    train = translated.train
    assert (train.epochs, train.first_epoch, train.batch_size, train.micro_batch_size) == (25, 3, 128, 32)
    assert (train.learning_rate, train.weight_decay, train.seed) == (1e-4, 0.01, 0)
    assert (train.precision, train.reset_optimizer, train.save) == ("fp32", "epoch", "epoch")
    assert translated.thoughts == {"name": "last_hidden"}


def test_the_stages_are_those_of_the_released_run():
    translated = recipe()
    stages = [translated.method.stage(epoch) for epoch in range(translated.train.first_epoch, translated.train.epochs)]
    assert stages == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 13


def test_every_key_is_spoken_of_once_in_the_order_of_the_file():
    lines = translate(values()).said
    assert [line.partition(":")[0] for line in lines] == list(values())
    assert all(len(line) > len("seed: 0 ") for line in lines)


def test_the_run_directory_is_save_path_and_name():
    assert translate(values()).run == Path("out/gsm-coconut")


@pytest.mark.parametrize(
    ("flag", "method"),
    [
        ("cot", {"name": "cot"}),
        ("no_cot", {"name": "no_cot"}),
        (
            "no_thoughts",
            {"name": "coconut", "thoughts_per_step": 0, "markers": False, "max_stage": 3, "epochs_per_stage": 3},
        ),
    ],
)
def test_the_other_modes_are_methods_too(flag, method):
    translated = translate(values(coconut=False, **{flag: True}))
    assert {key: translated.recipe["method"].get(key) for key in method} == method
    assert resolve(translated.recipe, "x").method.name == method["name"]
    assert "no effect" in next(line for line in translated.said if line.startswith("c_thought"))


def test_a_chain_of_thought_file_may_have_no_thoughts_per_step():
    assert recipe(coconut=False, cot=True, c_thought=0, epochs_per_stage=1, max_latent_stage=0).method.name == "cot"


def test_the_batch_is_that_of_all_processes_and_accumulated_steps():
    accumulated = recipe(world_size=2, batch_size_training=8, gradient_accumulation_steps=4).train
    assert (accumulated.batch_size, accumulated.micro_batch_size) == (64, 8)
    assert "8 rows x 4 accumulated x 2 processes = train.batch_size: 64" in said(
        "batch_size_training", 2, batch_size_training=8, gradient_accumulation_steps=4
    )
    assert "published runs had 4" in said("batch_size_training")
    assert "published" not in said("batch_size_training", 4)


def test_what_differs_from_the_released_code_is_said():
    assert "autocast" in said("bf16", bf16=True)
    assert "method.released_counts=true" in said("pad_latent_to_max", pad_latent_to_max=False)
    assert "no effect" in said("project")
    assert "no effect" in said("debug", debug=True)
    assert "every stage" in said("reset_optimizer")
    assert "nothing is continued" in said("resume")


def test_flags_become_names():
    assert recipe(bf16=True).train.precision == "bf16"
    assert recipe(save_only_improve=True).train.save == "improvement"
    assert recipe(reset_optimizer=False).train.reset_optimizer == "never"
    assert recipe(pad_latent_to_max=False).method.pad_thoughts is False
    assert recipe(uniform_prob=0.3).method.mix == 0.3


def test_other_data_than_gsm_is_compared_as_text():
    task = recipe(val_path="data/prosqa_valid.json").task
    assert (task.scoring, task.max_new_tokens) == ("exact", 128)


def test_a_folder_to_load_from_replaces_the_model(tmp_path):
    translated = translate(values(load_model_path=str(tmp_path)))
    assert translated.recipe["model"] == {"path": str(tmp_path)}
    assert translated.load_model_path == tmp_path


def test_a_released_checkpoint_is_loaded_into_the_model(tmp_path):
    file = tmp_path / "checkpoint_3"
    file.touch()
    translated = translate(values(load_model_path=str(file)))
    assert translated.recipe["model"] == {"path": "openai-community/gpt2", "weights": str(file)}


def test_an_evaluation_knows_its_stage():
    translated = translate(values(only_eval=True, resume=15))
    assert (translated.only_eval, translated.stage) == (True, 5)
    assert "first_epoch" not in translated.recipe["train"]


def test_mistakes_are_reported_at_once_in_the_words_of_the_file():
    assert set(problems(cot=True, no_cot=True, bf16="False", lr="absent", lr_=1e-4, epochs_per_stag=3)) == {
        "lr_: the released code has no such key; did you mean lr?",
        "epochs_per_stag: the released code has no such key; did you mean epochs_per_stage?",
        "bf16: it is the text 'False'; write True or False, without quotes",
        "lr: it is missing; the released code needs it too",
        "coconut and cot and no_cot are True together; set one of them, the others to False",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"coconut": False}, "none of coconut, cot, no_thoughts, no_cot is True"),
        ({"c_thought": 0}, "set no_thoughts: True instead, or c_thought: 1"),
        ({"epochs_per_stage": 0}, "divides by zero"),
        ({"max_latent_stage": None}, "max_latent_stage: it is missing"),
        ({"model_id": "None"}, "model_id: it is missing"),
        ({"batch_size_training": "8"}, "batch_size_training: it is the text '8'; it must be a whole number"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: it is the number 0"),
        ({"load_model_path": "YOUR_PATH"}, "'YOUR_PATH' does not exist"),
        ({"name": "../../etc/x"}, "cannot name a run directory"),
        ({"name": "CON"}, "cannot name a run directory"),
        ({"name": "-rf"}, "cannot name a run directory"),
        ({"name": "x" * 300}, "cannot name a run directory"),
        ({"name": "a\nb"}, "cannot name a run directory"),
        ({"save_path": " "}, "save_path: the text ' ' is no path"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, expected):
    assert expected in problems(**changes)[0]


def test_mistakes_in_values_name_the_key_and_line_of_the_file(tmp_path):
    path = tmp_path / "gsm.yaml"
    path.write_text(
        GSM.replace("max_latent_stage: 3", "max_latent_stage: -1").replace("num_epochs: 25", 'num_epochs: "25"')
    )
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert error.value.problems == (
        "method.max_stage (max_latent_stage, line 14): it must be greater than or equal to 0; found the number -1",
        "train.epochs (num_epochs, line 30): it must be a whole number; found the text '25'",
    )


def test_a_released_file_is_a_recipe_and_takes_overrides(tmp_path, monkeypatch):
    path = tmp_path / "gsm.yaml"
    path.write_text(GSM)
    monkeypatch.setenv("WORLD_SIZE", "4")
    source = open_recipe(path, ["train.epochs=30", "thoughts.name=pause"])
    assert (source.recipe.train.epochs, source.recipe.train.batch_size) == (30, 128)
    assert source.recipe.schedule == {"name": "single"}
    assert source.legacy.run == Path("out/gsm-coconut")
