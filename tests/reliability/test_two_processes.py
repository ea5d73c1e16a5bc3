"""Two processes and one give the same losses and the same rows, and learn the same from the same trajectories."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TRAINED = Path(__file__).parents[1] / "models" / "hops-coconut"

RECIPE = """
task: {name: hops, symbols: 6, hops: 3, train_rows: 45, validation_rows: 11, test_rows: 7}
model: {layers: 1, heads: 2, width: 16, max_positions: 32}
method: {name: coconut, max_stage: 2, epochs_per_stage: 1, markers: false, mix: 0.3, pad_thoughts: false}
train: {epochs: 3, batch_size: 16, micro_batch_size: 8, learning_rate: 0.003, log_every: 1}
"""


def unspoken(processes, *arguments):
    return launch(processes, "unspoken", *arguments)


def launch(processes, module, *arguments):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", module, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr[-3000:]
    return result


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "recipe.yaml").write_text(RECIPE)
    for processes in (1, 2):
        out = folder / str(processes)
        unspoken(processes, "train", folder / "recipe.yaml", "--out", out)
    return folder


def test_the_training_losses_agree_to_1e_6(runs):
    losses = [
        {row["step"]: row["loss"] for row in lines(runs / name / "metrics.jsonl") if "loss" in row} for name in "12"
    ]
    assert len(losses[0]) == 9
    assert losses[0].keys() == losses[1].keys()
    for step, loss in losses[0].items():
        assert loss == pytest.approx(losses[1][step], abs=1e-6), f"step {step}"


def test_every_row_is_evaluated_once_and_answered_the_same(runs):
    rows = []
    for processes in (1, 2):
        unspoken(processes, "eval", runs / "1", "--split", "validation")
        rows.append(lines(runs / "1" / "predictions.jsonl"))
        results = json.loads((runs / "1" / "results.json").read_text())
        assert results["n"] == 11, "an odd number of rows on two processes"
        assert results["environment"]["processes"] == processes
    assert rows[0] == rows[1]
    assert len({row["id"] for row in rows[0]}) == len(rows[0])


def test_a_source_that_learns_may_rest_in_steps_without_thoughts(tmp_path):
    """The first stage has no slots, so nothing asks the source, and no gradient reaches it on any process."""
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("epochs: 3", "epochs: 2") + "thoughts: {name: projection}\n")
    for processes in (1, 2):
        unspoken(processes, "train", tmp_path / "recipe.yaml", "--out", tmp_path / str(processes))
    one, two = ([row["loss"] for row in lines(tmp_path / name / "metrics.jsonl") if "loss" in row] for name in "12")
    assert len(one) == 6
    assert one == pytest.approx(two, abs=1e-6)


CHOOSING = """
task: {{name: shapes, folder: {folder}, grid: 3, min_objects: 7, max_objects: 8, image_size: 36,
  train_rows: 16, validation_rows: 4, test_rows: 11}}
model: {{layers: 1, heads: 2, width: 16, max_positions: 96, vision: null}}
method: {{name: coconut, max_stage: 2, epochs_per_stage: 0}}
train: {{epochs: 1, batch_size: 16, save: end}}
evaluate: {{controls: [zero], batch_size: 4, max_new_tokens: 3}}
"""


def test_the_choices_of_every_row_are_weighed_alike(tmp_path):
    (tmp_path / "recipe.yaml").write_text(CHOOSING.format(folder=tmp_path / "pictures"))
    unspoken(1, "train", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    rows = []
    for processes in (1, 2):
        unspoken(processes, "eval", tmp_path / "run", "--split", "test")
        rows.append(lines(tmp_path / "run" / "predictions.jsonl") + lines(tmp_path / "run" / "predictions.zero.jsonl"))
        assert json.loads((tmp_path / "run" / "results.json").read_text())["choice_n"] == 11
    for one, two in zip(*rows, strict=True):
        # rows are batched with others, which moves the last bits
        assert one.pop("log_likelihoods") == pytest.approx(two.pop("log_likelihoods"), abs=1e-4)
        assert one == two


LEARNING = """
task: {name: hops, symbols: 8, hops: 4, train_rows: 11, validation_rows: 7, test_rows: 4}
model: {path: MODEL}
method: {name: METHOD, num_thoughts: 4, markers: false, trajectories: 4, token_temperature: 4, entropy: 0.01, MORE}
thoughts: {name: navigator, identities: 4, memory: {name: bank, capacity: 40}, HEADS}
train: {epochs: 2, batch_size: 5, micro_batch_size: 8, learning_rate: 0.001, log_every: 1, max_grad_norm: 1.0}
evaluate: {controls: [zero], max_new_tokens: 4}
"""
METHODS = {"ppo": ("temperature: 2", "halt_after: 1, critic: true"), "grpo": ("repulsion: 1.0", "noise: 0.5")}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Folder with the recipes, and what `learning_ranks` left on one process and on two."""
    folder = tmp_path_factory.mktemp("learned")
    recipes = []
    for method, (more, heads) in METHODS.items():
        text = LEARNING.replace("MODEL", str(TRAINED)).replace("METHOD", method)
        text = text.replace("MORE", more).replace("HEADS", heads)
        recipes.append(folder / f"{method}.yaml")
        recipes[-1].write_text(text)
    for processes in (1, 2):
        (folder / str(processes)).mkdir()
        launch(processes, "tests.reliability.learning_ranks", folder / str(processes), *recipes)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_what_is_learned_from_the_same_trajectories_does_not_depend_on_the_processes(learned, method):
    alone, together = (load_file(learned / number / f"{method}.0.gradients") for number in "12")
    assert alone.keys() == together.keys()
    for name, gradient in alone.items():
        largest = float(gradient.abs().max())
        assert largest > 0 or ".memory." in name, f"{name}: nothing is learned, or nothing is in the memory yet"
        assert float((gradient - together[name]).abs().max()) <= 1e-4 * largest, name
    one, two = (json.loads((learned / number / f"{method}.0.json").read_text())[0] for number in "12")
    assert one == pytest.approx(two, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_processes_that_draw_for_themselves_keep_the_same_parameters(learned, method):
    first, second = (load_file(learned / "2" / f"{method}.{rank}.tensors") for rank in "01")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    figures, others = (json.loads((learned / "2" / f"{method}.{rank}.json").read_text()) for rank in "01")
    assert figures == others
    assert all(math.isfinite(value) for line in figures for value in line.values())


def test_a_run_that_learns_from_rewards_on_two_processes_is_an_ordinary_run(learned):
    out = learned / "run"
    unspoken(2, "train", learned / "ppo.yaml", "--out", out)
    updates = [line for line in lines(out / "metrics.jsonl") if "reward" in line]
    assert [line["step"] for line in updates] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(value) for line in updates for value in line.values())
    unspoken(1, "eval", out, "--split", "validation")
    assert len({row["id"] for row in lines(out / "predictions.jsonl")}) == 7
