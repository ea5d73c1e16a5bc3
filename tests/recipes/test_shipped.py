"""Every recipe that comes with Unspoken, small: it loads, plans, trains through its stages, evaluates and answers."""

import io
import json
import math
from pathlib import Path

import datasets
import pytest
from PIL import Image
from tests.recipes.small_stories import with_films, with_toy_stories

from unspoken.answer import ask
from unspoken.evaluation.evaluate import evaluate
from unspoken.files import read_json, read_json_lines, sha256, write_json
from unspoken.methods import Reinforcement
from unspoken.plan import plan
from unspoken.recipe import load_recipe
from unspoken.recipe.shipped import shipped_recipes
from unspoken.run_directory import open_run
from unspoken.training.train import train

FOLDER = Path(__file__).parents[2] / "recipes"
TRAINED = Path(__file__).parents[1] / "models" / "hops-coconut"
RECIPES = {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))}
CONTROLS = ("zero", "mean", "noise", "another_row", "removed")
NEW_TOKENS = 4
SMALL = (
    "train.batch_size=4",
    "train.log_every=1",
    "train.validate_every=99",
    "evaluate.controls=[zero, mean, noise, another_row, removed]",
    f"evaluate.max_new_tokens={NEW_TOKENS}",
)
FROM_SCRATCH = (
    "task.train_rows=4",
    "task.validation_rows=3",
    "task.test_rows=2",
    "model.layers=1",
    "model.heads=2",
    "model.width=16",
)


def stages_of(recipe):
    """The stages of a recipe in the order of its epochs, each once."""
    epochs = range(recipe.train.first_epoch, recipe.train.epochs)
    return list(dict.fromkeys(recipe.method.stage(epoch) for epoch in epochs))


def quickly(recipe):
    """Overrides that visit every stage of a recipe for one epoch; with iCoT, which has hundreds, three of them."""
    stages, name = stages_of(recipe), recipe.method.name
    if name == "icot":
        return ["train.epochs=3", "method.full_epochs=0", f"method.remove_per_epoch={stages[-1] / 2}"]
    length = getattr(recipe.method, "epochs_per_stage", 0)
    short = [1] * len(length) if isinstance(length, tuple) else min(length, 1)
    curriculum = [f"method.epochs_per_stage={short}"] if hasattr(recipe.method, "epochs_per_stage") else []
    return [f"train.epochs={recipe.train.first_epoch + max(len(stages), 2)}", *curriculum]


def with_gsm8k(folder, model, rows):
    """Overrides for recipes that need a checkpoint and files."""
    write_json(folder / "train.json", rows[:4])
    write_json(folder / "validation.json", rows[4:7])
    return [f"model.path={model}", f"task.train={folder}/train.json", f"task.validation={folder}/validation.json"]


def with_word_problems(folder, recipe, model):
    """Overrides for recipes on the rows of GSM8K's data set; those that go on from another run get a small one."""
    rows = [
        {"question": f"{n} hens and {n}?", "answer": f"{n}+{n} = <<{n}+{n}={2 * n}>>{2 * n}.\nAll.\n#### {2 * n}"}
        for n in range(7)
    ]
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(folder / "data")
    small = [f"task.dataset={folder}/data", "task.held_out=3", "train.micro_batch_size=4"]
    if not isinstance(recipe.method, Reinforcement):
        return [f"model.path={model}", *small]
    start = load_recipe("gsm8k/llama_coconut", [*SMALL, f"model.path={model}", *small, "train.epochs=1"])
    train(start, folder / "start")
    memory = {**recipe.thoughts["memory"], "rank": 4}
    return [f"model.path={folder}/start", *small, "thoughts.rank=4", f"thoughts.memory={json.dumps(memory)}"]


def with_data_set(folder, recipe, model, clip):
    """Overrides for recipes on photographs: the data set, the model and the encoder are folders on this machine."""
    is_aokvqa = recipe.task.name == "aokvqa"
    buffer = io.BytesIO()
    Image.new("RGB", (40, 48), "teal").save(buffer, "JPEG")
    row = {
        "image": {"bytes": buffer.getvalue(), "path": None},
        "choices": ["red", "blue", "green", "grey"],
        ("correct_choice_idx" if is_aokvqa else "answer"): 1,
        **({"rationales": ["It is teal. That is blue."] * 3} if is_aokvqa else {}),
        **({} if is_aokvqa else {"hint": "", "lecture": "", "solution": "Teal it is. It is blue."}),
    }
    rows = [{**row, "question": f"What colour is number {number}?"} for number in range(7)]
    kind = datasets.Features({**datasets.Dataset.from_list(rows).features, "image": datasets.Image()})
    splits = {"train": rows[:4], "validation": rows[4:]}
    data = {split: datasets.Dataset.from_list(part, features=kind) for split, part in splits.items()}
    datasets.DatasetDict(data).save_to_disk(folder / "data")
    return [
        f"task.dataset={folder}/data", f"task.images={folder}/images", f"model.path={model}",
        f"model.vision.path={clip}", f"model.vision.cache={folder}/features", "model.vision.projector.heads=2",
    ]  # fmt: skip


def with_pictures(folder, recipe):
    """Overrides for recipes on pictures; those that go on from another run get a small one of its kind."""
    small = [f"task.folder={folder}/pictures", "model.vision.width=16", "model.vision.heads=2"]
    if recipe.model.path is None:
        return [*FROM_SCRATCH, *small]
    eyes = load_recipe("shapes/scene", [*FROM_SCRATCH, *small, "train.epochs=1", "evaluate.max_new_tokens=4"])
    train(eyes, folder / "eyes")
    return [*FROM_SCRATCH[:3], *small, f"model.path={folder}/eyes"]


def first_row(run):
    """The first validation row as one text, and its images."""
    example = run.recipe.task.examples("validation")[0][0]
    images = [(run.recipe.task.image_root or Path()) / image for image in example.images]
    return run.recipe.task.text.premise_separator.join([*example.premises, example.question]), images


def test_the_shipped_recipes_are_the_files_in_the_folder():
    assert shipped_recipes() == RECIPES
    assert len(RECIPES) >= 31
    assert {name.partition("/")[0] for name in RECIPES} == {
        "aokvqa", "gsm8k", "hops", "multiplication", "prontoqa", "prosqa", "scienceqa", "shapes", "stories",
        "toy_stories",
    }  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_loads_and_plans_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # pictures are drawn there
    recipe = load_recipe(name)
    planned = plan(recipe)
    assert [stage.stage for stage in planned.stages] == stages_of(recipe)
    assert sum(stage.last_epoch - stage.first_epoch + 1 for stage in planned.stages) == (
        recipe.train.epochs - recipe.train.first_epoch
    )
    if recipe.task.name == "gsm8k" and recipe.task.dataset is None:  # its files are to be brought
        assert planned.rows is None
        assert any("set task.train and task.validation" in warning for warning in planned.warnings)
    elif recipe.task.name in ("gsm8k", "aokvqa", "scienceqa", "stories"):  # the data set is on a hub
        assert planned.rows is None
        assert any(f"data set {recipe.task.dataset} are counted" in warning for warning in planned.warnings)
    else:
        assert planned.rows == recipe.task.train_rows
        epochs = recipe.train.epochs - recipe.train.first_epoch
        assert planned.total_steps == math.ceil(planned.rows / recipe.train.batch_size) * epochs


# what answers nothing is trained in test_contrastive.py
ANSWERING = [name for name, path in RECIPES.items() if "name: contrastive" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", ANSWERING)
def test_a_shipped_recipe_trains_through_its_stages_evaluates_and_answers(name, tmp_path, request):
    original = load_recipe(name)
    if original.task.name == "shapes":
        given = with_pictures(tmp_path, original)
    elif original.task.name == "toy_stories":
        given = with_toy_stories(tmp_path, original)
    elif original.task.name == "stories":
        given = with_films(tmp_path, original, request.getfixturevalue("tiny_gpt2"))
    elif original.task.name in ("aokvqa", "scienceqa"):
        folders = [request.getfixturevalue(name) for name in ("tiny_gpt2", "tiny_clip")]
        given = with_data_set(tmp_path, original, *folders)
    elif original.model.path is None:
        given = FROM_SCRATCH
    elif original.task.name == "hops":  # goes on from a run
        # that run knows no numbers of hops
        given = [*FROM_SCRATCH[:3], f"model.path={TRAINED}", "task.min_hops=null"]
    elif original.task.dataset is not None:
        given = with_word_problems(tmp_path, original, request.getfixturevalue("tiny_llama"))
    else:
        folder, data = request.getfixturevalue("tiny_gpt2"), request.getfixturevalue("shared_data")
        given = with_gsm8k(tmp_path, folder, read_json(data / "gsm8k" / "aug_valid.json"))
    recipe, out = load_recipe(name, [*SMALL, *given, *quickly(original)]), tmp_path / "run"
    planned = plan(recipe)

    train(recipe, out)
    lines = [line for line in read_json_lines(out / "metrics.jsonl") if "loss" in line]
    # a plan does not count the rows of a data set; here 4 rows are one step
    steps = recipe.train.epochs if planned.total_steps is None else planned.total_steps
    assert [line["step"] for line in lines] == list(range(1, steps + 1))
    learns_from_rewards = isinstance(recipe.method, Reinforcement)
    assert all((-20 if learns_from_rewards else 0) < line["loss"] < 20 for line in lines)
    visited = list(dict.fromkeys(line["stage"] for line in lines))
    wanted = stages_of(original)
    assert visited == ([0, wanted[-1] // 2, wanted[-1]] if recipe.method.name == "icot" else wanted)
    summary = read_json(out / "run.json")
    assert summary["stage"] == wanted[-1]
    if recipe.model.vision is None:  # a plan does not count eyes, and says so
        assert summary["num_parameters"] == planned.num_parameters

    weights = sha256(out / "model.safetensors")
    train(recipe, out, resume=True)
    assert sha256(out / "model.safetensors") == weights, "a finished run is resumed to the same model"

    results = evaluate(out)
    thinks = recipe.method.most_thoughts(wanted[-1]) > 0
    assert results["n"] == 3
    assert (results["thoughts_per_answer"] > 0) == thinks
    assert set(results["controls"]) == (set(CONTROLS) if thinks else set())
    assert all(control["n"] == 3 for control in results["controls"].values())

    run = open_run(out)
    question, images = first_row(run)
    answer = ask(run, question, images=images, max_new_tokens=NEW_TOKENS)
    predicted = read_json_lines(out / "predictions.jsonl")[0]
    assert answer.text == predicted["text"]
    assert answer.num_passes == predicted["num_passes"]
    assert len(answer.thoughts) == predicted["num_thoughts"]
