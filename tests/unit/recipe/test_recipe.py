import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unspoken.errors import RecipeError
from unspoken.methods import METHODS, Coconut
from unspoken.recipe import dump, load_recipe, open_recipe, override, resolve, resolve_task, sparse
from unspoken.recipe.shipped import shipped_recipes
from unspoken.recipe.strict_yaml import parse_yaml
from unspoken.tasks import TASKS, Hops

HOPS = {"task": {"name": "hops"}, "method": {"name": "coconut"}}


def problems(values, where="r.yaml"):
    with pytest.raises(RecipeError) as error:
        resolve(values, where)
    return error.value.problems


def problem(**sections):
    found = problems({**HOPS, **sections})
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_survives_being_written_and_read(name):
    recipe = load_recipe(name)
    assert resolve(dump(recipe), "dump") == recipe
    assert resolve(parse_yaml(recipe.source, "source"), "source") == recipe


def test_a_recipe_needs_only_a_task_and_a_method():
    recipe = resolve(HOPS, "x")
    assert recipe.task == Hops()
    assert recipe.method == Coconut()
    assert recipe.thoughts == {"name": "last_hidden"}
    assert recipe.schedule == {"name": "sequential"}
    assert sparse(recipe) == HOPS


def test_thoughts_that_read_no_state_are_filled_in_one_pass():
    assert resolve({**HOPS, "thoughts": {"name": "pause"}}, "x").schedule == {"name": "single"}
    chosen = resolve({**HOPS, "thoughts": {"name": "pause"}, "schedule": {"name": "sequential"}}, "x")
    assert chosen.schedule == {"name": "sequential"}


def test_all_mistakes_are_reported_at_once():
    found = problems(
        {
            "task": {"name": "hops", "symbls": 9, "hops": 0},
            "model": {"width": "wide", "lora": {"rank": -1}},
            "method": {"name": "coconut", "max_stage": -1, "epochs_per_stage": []},
            "train": {"learning_rte": 1, "precision": "bf32", "seed": -1, "betas": [0.9]},
            "evaluate": {"controls": ["zreo"]},
            "trian": {},
            "lr": 3,
        }
    )
    expected = {
        "trian": "did you mean train?",
        "lr": "here it is train.learning_rate",
        "task.symbls": "did you mean symbols?",
        "task.hops": "greater than 0; found the number 0",
        "model.width": "must be a whole number; found the text 'wide'",
        "model.lora.rank": "greater than 0; found the number -1",
        "method.max_stage": "greater than or equal to 0; found the number -1",
        "method.epochs_per_stage": "must be a whole number or a list of 1 or more; found the list []",
        "train.learning_rte": "did you mean learning_rate?",
        "train.precision": "'fp32', 'bf16' or 'fp16'; found the text 'bf32'; did you mean fp32?",
        "train.seed": "greater than or equal to 0; found the number -1",
        "train.betas.1": "is missing",
        "evaluate.controls": "did you mean zero?",
    }
    by_key = dict(line.split(": ", 1) for line in found)
    assert by_key.keys() == expected.keys()
    for key, text in expected.items():
        assert text in by_key[key]


@pytest.mark.parametrize(
    ("section", "name", "expected"),
    [
        ("task", "hopps", "did you mean hops? Known are " + ", ".join(TASKS)),
        ("task", "xyz", "known are " + ", ".join(TASKS)),
        ("method", "cocnut", "did you mean coconut? Known are " + ", ".join(METHODS)),
        ("method", 3, "known are " + ", ".join(METHODS)),
        ("thoughts", "windw", "known: last_hidden, window, pause, projection"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(section, name, expected):
    assert expected in problem(**{section: {"name": name}})


def test_a_missing_task_or_method_lists_the_known_ones():
    assert problems({}) == (
        f"task.name: it is missing; choose one of {', '.join(TASKS)}",
        f"method.name: it is missing; choose one of {', '.join(METHODS)}",
    )


def test_a_section_must_be_a_mapping():
    assert "it is the text 'hops'; write a mapping" in problem(task="hops")
    assert "it is the list [1]; write a mapping" in problem(train=[1])


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3]])
def test_types_are_not_bent(value):
    assert "train.epochs: it must be a whole number" in problem(train={"epochs": value})


def test_a_quoted_truth_value_is_refused():
    found = problem(method={"name": "coconut", "markers": "False"})
    assert "method.markers: it must be true or false, without quotes; found the text 'False'" in found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0])
def test_learning_rates_must_be_finite_and_positive(value):
    assert problem(train={"learning_rate": value}).startswith("train.learning_rate: it must be")


def test_a_key_of_another_method_says_whose_it_is():
    found = problem(method={"name": "no_cot", "thoughts_per_step": 2})
    assert found == (
        "method.thoughts_per_step: it is a key of method coconut, not of no_cot; "
        "remove it, or replace the whole section: method={name: no_cot}"
    )


def test_a_home_directory_is_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    recipe = resolve({**HOPS, "task": {"name": "gsm8k", "train": "~/a.json"}, "model": {"path": "~/m"}}, "x")
    assert (recipe.task.train, recipe.model.path) == (Path("/home/someone/a.json"), "/home/someone/m")


def test_a_home_is_written_out_wherever_a_path_stands(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    recipe = resolve(
        {
            **HOPS,
            "task": {"name": "stories", "images": "~/images", "splits": "~/splits.json"},
            "model": {
                "path": "~/m",
                "tokenizer": "~/t",
                "weights": "~/w",
                "vision": {"path": "~/clip", "cache": "~/features", "features": "joint"},
                "embedding_heads": {"space": "~/clip"},
            },
        },
        "x",
    )
    model, task = dump(recipe)["model"], dump(recipe)["task"]
    found = [model["path"], model["tokenizer"], model["weights"], model["vision"]["path"], model["vision"]["cache"]]
    found += [model["embedding_heads"]["space"], task["images"], task["splits"]]
    names = ["m", "t", "w", "clip", "features", "clip", "images", "splits.json"]
    assert found == [f"/home/ada/{name}" for name in names]
    assert resolve(dump(recipe), "dump") == recipe


def test_a_home_that_there_is_not_stays_as_it_is():
    recipe = resolve({**HOPS, "task": {"name": "gsm8k", "train": "~nobody-here/a.json"}}, "x")
    assert str(recipe.task.train) == "~nobody-here/a.json"


def test_a_mistake_has_the_line_of_its_key_or_is_called_an_override(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("task:\n  name: hops\nmethod:\n  name: coconut\n  max_stage: -1\ntrain:\n  epochs: 0\n")
    with pytest.raises(RecipeError) as error:
        load_recipe(path, ["train.seed=-1", "train.epochs=x"])
    assert [line.partition(":")[0] for line in error.value.problems] == [
        "method.max_stage (line 5)",
        "train.epochs (override)",
        "train.seed (override)",
    ]


def test_overrides_are_yaml_and_the_last_one_wins():
    recipe = load_recipe(
        "hops/coconut",
        ["train.epochs=3", "train.epochs=4", "method.epochs_per_stage=[1, 2]", "train.learning_rate=1e-2",
         "model.lora.rank=8", "train.trainer.ddp_timeout=60", "model.path=", "model.marker_init=<<"],
    )  # fmt: skip
    assert (recipe.train.epochs, recipe.method.epochs_per_stage, recipe.train.learning_rate) == (4, (1, 2), 0.01)
    assert recipe.model.lora.rank == 8
    assert (recipe.model.path, recipe.model.marker_init) == (None, "<<")
    assert recipe.train.trainer == {"ddp_timeout": 60}


def test_an_override_can_replace_a_section():
    recipe = load_recipe("hops/coconut", ["method={name: cot}"])
    assert recipe.method == METHODS["cot"]()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("train.epochs", "train.epochs (override): it must have the form section.key=value"),
        ("=3", "=3 (override): it must have the form"),
        ("train.=3", "train.=3 (override): it must have the form"),
        ("train..epochs=3", "it must have the form"),
        ("train.epochs=[1", "train.epochs (override): its value is not YAML"),
        ("train.epochs.x=3", "train.epochs is the number 13 and has no keys"),
        ("epochs=3", "epochs (override): unknown section; did you mean train.epochs?"),
        ("train=3", "train (override): it is the number 3; write a mapping"),
    ],
)
def test_a_malformed_override_is_one_of_the_problems(change, expected):
    with pytest.raises(RecipeError) as error:
        load_recipe("hops/coconut", ["train.epochs=13", change, "evaluate.batch_size=0"])
    assert len(error.value.problems) == 2
    assert expected in "\n".join(error.value.problems)


def test_a_recipe_can_be_changed_afterwards():
    recipe = load_recipe("hops/coconut")
    changed = override(recipe, ["evaluate.controls=[mean]"])
    assert changed.evaluate.controls == ("mean",)
    assert changed.task == recipe.task
    with pytest.raises(RecipeError, match="did you mean zero"):
        override(recipe, ["evaluate.controls=[zreo]"])


def test_a_file_comes_before_a_shipped_recipe_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_recipe("hops/coconut").path == shipped_recipes()["hops/coconut"]
    Path("hops").mkdir()
    Path("hops/coconut").write_text("task: {name: hops}\nmethod: {name: cot}\n")
    assert load_recipe("hops/coconut").method.name == "cot"
    assert load_recipe("hops/coconut.yaml").method.name == "coconut"


def test_a_name_that_is_nothing_says_what_is_near():
    with pytest.raises(RecipeError, match="did you mean hops/coconut"):
        load_recipe("hops/cocnut")


def test_a_task_can_be_had_alone():
    assert resolve_task("hops", ["hops=3"]) == Hops(hops=3)
    with pytest.raises(RecipeError, match="did you mean symbols"):
        resolve_task("hops", ["symbls=3"])


def test_a_world_size_that_is_no_number_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "r.yaml"
    path.write_text("model_id: gpt2\ncot: True\nlr: 1e-4\n")
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(RecipeError, match="WORLD_SIZE"):
        load_recipe(path)


def test_a_recipe_is_read_without_torch():
    read = "from unspoken.recipe import load_recipe; load_recipe('hops/coconut')"
    code = f"import sys; {read}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "False\n"


counts = st.integers(1, 9)
tasks = st.one_of(
    st.fixed_dictionaries(
        {"name": st.just("hops")}, optional={"symbols": st.integers(6, 9), "hops": st.integers(1, 5)}
    ),
    st.fixed_dictionaries({"name": st.just("prosqa")}, optional={"mean_parents": st.floats(0.5, 2), "seed": counts}),
    st.fixed_dictionaries({"name": st.just("custom")}, optional={"train": st.sampled_from(["a.json", "b c.jsonl"])}),
)
methods = st.one_of(
    st.fixed_dictionaries({"name": st.sampled_from(["cot", "no_cot"])}),
    st.fixed_dictionaries(
        {"name": st.just("coconut")},
        optional={
            "epochs_per_stage": counts | st.lists(counts, min_size=1, max_size=3),
            "mix": st.floats(0, 1),
            "markers": st.booleans(),
        },
    ),
    st.fixed_dictionaries({"name": st.just("icot")}, optional={"remove_per_epoch": st.floats(0.1, 9)}),
)
training = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.floats(1e-9, 1),
        "epochs": counts,
        "betas": st.tuples(st.floats(0, 1), st.floats(0, 1)).map(list),
        "keep_checkpoints": st.none() | counts,
        "report_to": st.sampled_from(["none", "no", "1e-4", "wandb"]),
        "trainer": st.dictionaries(st.sampled_from(["ddp_timeout", "tf32", "run_name"]), st.booleans() | counts),
    },
)
models = st.fixed_dictionaries(
    {}, optional={"path": st.sampled_from(["gpt2", "1e-4"]), "lora": st.just({"rank": 3}), "dropout": st.floats(0, 0.9)}
)


@settings(max_examples=60, deadline=None)
@given(tasks, methods, training, models)
def test_any_recipe_survives_being_written_and_read(task, method, train, model):
    recipe = resolve({"task": task, "method": method, "train": train, "model": model}, "x")
    assert resolve(dump(recipe), "dump") == recipe
    assert resolve(parse_yaml(recipe.source, "source"), "source") == recipe
