"""The three variants of the adversary from end to end: from a warm start, resumed, evaluated; what is refused."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import unspoken
from unspoken.errors import RecipeError
from unspoken.files import MANIFEST, read_json_lines, sha256
from unspoken.plan import plan, render
from unspoken.recipe import override, resolve
from unspoken.run_directory import read_recipe
from unspoken.training import adversarial, supervised
from unspoken.training.adversarial import STATE, make_trainer
from unspoken.training.callbacks import Guard
from unspoken.training.checkpoint import checkpoints
from unspoken.training.signals import Stopped, StopRequest
from unspoken.training.train import train

NAIVE = ["adversary.signal=policy_gradient", "adversary.samples=2"]
CACHED = ["adversary.signal=embedding", "adversary.fakes=cached", "adversary.cached_rows=12"]
HARD_NEGATIVE = [
    "adversary.signal=straight_through", "adversary.fakes=cached", "adversary.cached_rows=12",
    "adversary.negatives=generated_and_hard", "adversary.feature_matching=0.1", "adversary.every=2",
]  # fmt: skip
VARIANTS = {"naive": NAIVE, "cached": CACHED, "hard_negative": HARD_NEGATIVE}


@pytest.fixture(scope="session")
def stories(tmp_path_factory):
    """A task, and a small CLIP of its images and captions."""
    folder = tmp_path_factory.mktemp("stories")
    task = {
        "name": "toy_stories", "train_rows": 32, "validation_rows": 8, "test_rows": 4, "image_size": 36,
        "folder": str(folder / "frames"),
    }  # fmt: skip
    clip = resolve(
        {
            "task": task,
            "model": {
                "layers": 1, "heads": 2, "width": 32, "max_positions": 64,
                "vision": {"layers": 1, "heads": 2, "width": 32, "image_size": 36, "patch_size": 12,
                           "train_encoder": True},
            },
            "method": {"name": "contrastive", "caption": "captions", "embedding": 16},
            "train": {"epochs": 1, "batch_size": 16, "learning_rate": 0.003, "save": "end"},
        },
        "test",
    )  # fmt: skip
    return folder, task, str(train(clip, folder / "clip"))


@pytest.fixture(scope="session")
def warm(stories):
    """A recipe without an adversary, and its run."""
    folder, task, clip = stories
    recipe = resolve(
        {
            "task": task,
            "model": {
                "layers": 1, "heads": 2, "width": 32, "dropout": 0.1,
                "vision": {"path": clip, "features": "joint", "cache": str(folder / "features")},
                "embedding_heads": {"space": clip, "hidden": 32},
            },
            "method": {"name": "no_cot"},
            "train": {"epochs": 2, "batch_size": 8, "learning_rate": 0.003, "save": "end", "log_every": 1},
            "evaluate": {"controls": [], "batch_size": 8, "max_new_tokens": 20},
        },
        "test",
    )  # fmt: skip
    return recipe, train(recipe, folder / "warm")


@pytest.fixture(scope="session")
def recipe(warm):
    """A recipe that goes on from the warm run, without an adversary yet."""
    return override(warm[0], [f"model.path={warm[1]}"])


def judged(recipe, *changes):
    return override(recipe, ["adversary.width=32", *changes])


@pytest.fixture(scope="session")
def runs(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    return {name: unspoken.train(judged(recipe, *changes), folder / name) for name, changes in VARIANTS.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_logs_and_is_evaluated(name, runs):
    lines = read_json_lines(runs[name] / "metrics.jsonl")
    steps = [line for line in lines if "loss_adversary" in line]
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert all({"loss_words", "loss_image", "loss_text"} <= line.keys() for line in steps)
    learned = [line for line in lines if "adversary_discriminator_loss" in line]
    assert [line["step"] for line in learned] == ([1, 3, 5, 7] if name == "hard_negative" else list(range(1, 9)))
    assert all({"adversary_real", "adversary_fake"} <= line.keys() for line in learned)
    assert ("adversary_reward" in steps[0]) == (name == "naive")
    assert ("loss_features" in steps[0]) == (name == "hard_negative")
    validated = [line for line in lines if "eval_adversary_accuracy" in line]
    assert [line["step"] for line in validated] == [4, 8]
    for line in validated:
        assert line["eval_adversary_n"] == 8
        assert 0 <= line["eval_adversary_accuracy"] <= 1
        assert line["eval_adversary_loss"] > 0
        assert ("eval_adversary_hard_accuracy" in line) == (name == "hard_negative")
        assert ("eval_adversary_guessed_accuracy" in line) == (name != "naive")
    assert unspoken.evaluate(runs[name], split="test")["n"] == 4


def test_the_loss_is_that_of_the_words_and_the_judgement_by_its_weight(runs):
    for name, run in runs.items():
        for line in read_json_lines(run / "metrics.jsonl"):
            if "loss_adversary" in line:
                own = line["loss_words"] + 0.5 * line["loss_image"] + 0.5 * line["loss_text"]
                matching = 0.1 * line["loss_features"] if name == "hard_negative" else 0
                assert line["loss"] == pytest.approx(own + 0.2 * line["loss_adversary"] + matching, abs=2e-4)


@pytest.fixture(scope="session")
def plain(recipe, tmp_path_factory):
    return train(recipe, tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize("name", VARIANTS)
def test_without_weight_a_run_ends_in_the_bits_of_one_without_an_adversary(name, recipe, plain, runs, tmp_path):
    changes = [change for change in VARIANTS[name] if "matching" not in change]
    control = train(judged(recipe, *changes, "adversary.weight=0"), tmp_path / "control")
    assert sha256(control / "model.safetensors") == sha256(plain / "model.safetensors")
    assert sha256(runs[name] / "model.safetensors") != sha256(plain / "model.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resumed_run_ends_in_the_same_bits(name, recipe, runs, tmp_path, monkeypatch):
    saving = judged(recipe, *VARIANTS[name])
    request = StopRequest()

    class Stopping(Guard):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 6:  # inside of an epoch, behind an update of the discriminator and one without
                request.signal = 15

    with monkeypatch.context() as patch:
        patch.setattr(supervised, "Guard", Stopping)
        with pytest.raises(Stopped):
            supervised._train(saving, tmp_path / "cut", False, request, make_trainer)
    assert not (tmp_path / "cut" / "run.json").exists()
    resumed = train(saving, tmp_path / "cut", resume=True)
    assert sha256(resumed / "model.safetensors") == sha256(runs[name] / "model.safetensors")
    ends = [checkpoints(run)[-1] for run in (resumed, runs[name])]
    one, other = (torch.load(end / STATE, weights_only=True) for end in ends)
    assert one["discriminator"].keys() == other["discriminator"].keys()
    assert all(torch.equal(one["discriminator"][key], other["discriminator"][key]) for key in one["discriminator"])
    assert one.get("cache") == other.get("cache")
    assert STATE in (ends[0] / MANIFEST).read_text(), "it is sealed with the rest"


def test_captions_are_kept_for_as_many_rows_as_asked_for(runs):
    cache = torch.load(checkpoints(runs["cached"])[-1] / STATE, weights_only=True)["cache"]
    assert cache["epoch"] == 1
    assert len(cache["rows"]) == len(cache["captions"]) == len(set(cache["rows"])) == 12


def test_clip_margin_pays_without_a_discriminator(recipe, tmp_path):
    margin = override(recipe, ["train.epochs=1", *NAIVE, "adversary.judge=clip_margin"])
    run = train(margin, tmp_path / "margin")
    lines = [line for line in read_json_lines(run / "metrics.jsonl") if "loss_adversary" in line]
    assert all(abs(line["adversary_reward"]) < 2 for line in lines)
    assert not any("adversary_real" in line for line in lines)


def test_a_judgement_that_arrives_nowhere_is_refused_before_the_first_step(recipe, tmp_path, monkeypatch):
    frozen = override(recipe, ["model.train_decoder=false"])
    # with a frozen language model words still hear of it through the image slots
    words = judged(frozen, "adversary.signal=straight_through", "train.epochs=1")
    assert train(words, tmp_path / "words").is_dir()
    monkeypatch.setattr(adversarial.AdversarialTrainer, "_example", lambda self: _without_gradient(self, self.material))
    for name, changes in {"embedding": CACHED, "straight_through": HARD_NEGATIVE}.items():
        with pytest.raises(RecipeError, match="no gradient of the adversarial loss reaches the language model, the im"):
            train(judged(recipe, *changes), tmp_path / name)


def _without_gradient(trainer, material):
    with torch.no_grad():
        return trainer._step_of(material, [0, 1])


def test_a_cold_start_is_refused(recipe, warm, stories, tmp_path):
    with pytest.raises(RecipeError, match=r"model.path.*: .*train without an adversary first"):
        judged(recipe, "model.path=null")
    with pytest.raises(RecipeError, match=r"an adversary begins from a trained run: .*is not a directory"):
        train(judged(recipe, "model.path=gpt2"), tmp_path / "run")
    with pytest.raises(RecipeError, match="has no embedding heads; train the recipe without its adversary"):
        train(judged(recipe, f"model.path={stories[2]}"), tmp_path / "run")
    with pytest.raises(RecipeError, match=r"they differ from those of .* in hidden, and would begin anew"):
        train(judged(recipe, "model.embedding_heads.hidden=16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_space_of_another_clip_is_refused(recipe, stories, tmp_path):
    other = train(override(read_recipe(Path(stories[2])), ["train.seed=5"]), tmp_path / "clip")
    with pytest.raises(RecipeError, match=r"embedding_heads.space.*\n.* is another CLIP than that of .*; set that one"):
        train(judged(recipe, f"model.embedding_heads.space={other}"), tmp_path / "run")


def test_several_processes_and_shared_parameters_are_refused(recipe, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(RecipeError, match="2 processes see a part each; start one process"):
            train(judged(recipe, *CACHED), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setenv("ACCELERATE_USE_FSDP", "true")
        with pytest.raises(RecipeError, match="needs whole parameters; start without FSDP"):
            train(judged(recipe, *CACHED), tmp_path / "run")


def test_adapters_hear_of_a_judgement(recipe, tmp_path):
    lora = override(recipe, ["train.epochs=1", "model.lora={rank: 2}"])
    run = train(judged(lora, "adversary.signal=embedding"), tmp_path / "lora")
    assert load_file(run / "model.safetensors")
    assert any("loss_adversary" in line for line in read_json_lines(run / "metrics.jsonl"))


def test_the_plan_says_how_the_judgement_arrives(recipe):
    text = render(plan(judged(recipe, *HARD_NEGATIVE)))
    assert re.search(r"^Adversary   straight_through, weight 0.2", text, flags=re.MULTILINE)
    assert "Adversary" not in render(plan(recipe))


@pytest.mark.parametrize("name", ["naive", "hard_negative"])
def test_captions_behind_steps_and_thoughts_are_judged_alone(name, recipe, tmp_path, monkeypatch):
    thinking = override(
        recipe,
        ["method={name: coconut, max_stage: 2, epochs_per_stage: 1}", "train.epochs=2", "evaluate.max_new_tokens=60"],
    )
    shown = []
    original = adversarial.Adversary._beside

    def beside(self, step, rows, captions):
        shown.append((step.epoch, [prompt.num_thoughts for prompt in step.prompts], captions))
        return original(self, step, rows, captions)

    monkeypatch.setattr(adversarial.Adversary, "_beside", beside)
    run = train(judged(thinking, *VARIANTS[name], "train.precision=bf16"), tmp_path / "run")
    assert {(epoch, *counts) for epoch, counts, _ in shown} == {(0, *[0] * 8), (1, *[1] * 8)}
    assert not any("#" in caption for _, _, captions in shown for caption in captions)
    assert len([line for line in read_json_lines(run / "metrics.jsonl") if "loss_adversary" in line]) == 8
