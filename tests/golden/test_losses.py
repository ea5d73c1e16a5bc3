"""Twenty steps of six recipes: losses and gradient norms are those on record.

A change that is meant to change them (another layout, another order of rows) is recorded anew, and reviewed as a change
of these files:

    UNSPOKEN_UPDATE_GOLDEN=1 pytest tests/golden
"""

import os
from pathlib import Path

import pytest

from unspoken.device import environment
from unspoken.files import read_json, read_json_lines, write_json
from unspoken.recipe import resolve
from unspoken.training.supervised import train

FOLDER = Path(__file__).parent
# Another processor adds in another order. Measured here: two threads, no vector instructions
# (ATEN_CPU_CAPABILITY=default) or rows in other micro-batches move these numbers by 2.3e-6 at most. Another source of
# the thoughts moves a loss by 4e-4 and a gradient norm by 2e-2 at least.
TOLERANCE = 1e-4

HOPS = {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 60, "validation_rows": 1, "test_rows": 1}
PROSQA = {
    "name": "prosqa",
    "rendering": "symbols",
    "min_hops": 3,
    "max_hops": 4,
    "train_rows": 60,
    "validation_rows": 1,
    "test_rows": 1,
}
CURRICULUM = {"name": "coconut", "max_stage": 3, "epochs_per_stage": 1, "mix": 0.2, "redraw": True}
RECIPES = {
    "hops_cot": {"task": HOPS, "method": {"name": "cot", "redraw": True}},
    "hops_coconut": {"task": HOPS, "method": CURRICULUM},
    "hops_window": {"task": HOPS, "method": CURRICULUM, "thoughts": {"name": "window", "weights": "learned"}},
    "hops_pause": {"task": HOPS, "method": CURRICULUM, "thoughts": {"name": "pause"}},
    "hops_projection": {"task": HOPS, "method": CURRICULUM, "thoughts": {"name": "projection"}},
    "prosqa_superposition": {"task": PROSQA, "method": {"name": "superposition", "epochs_per_stage": 1}},
}
COMMON = {
    "model": {"layers": 2, "heads": 2, "width": 32, "max_positions": 256, "dropout": 0.1},
    "train": {
        "epochs": 5,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "lr_schedule": "cosine",
        "reset_optimizer": "stage",
        "log_every": 1,
        "save": "end",
        "validate_every": 99,
    },
    "evaluate": {"max_new_tokens": 1},
}


def measure(name, out):
    """What a recipe computes, and on which rows."""
    run = train(resolve({**COMMON, **RECIPES[name]}, name), out)
    lines = [line for line in read_json_lines(run / "metrics.jsonl") if "loss" in line]
    return {
        "data": read_json(run / "resolved.json")["data"]["train"],
        "stage": [line["stage"] for line in lines],
        "loss": [line["loss"] for line in lines],
        "grad_norm": [line["grad_norm"] for line in lines],
    }


@pytest.mark.parametrize("name", RECIPES)
def test_twenty_steps_are_those_on_record(name, tmp_path):
    path = FOLDER / f"{name}.json"
    found = measure(name, tmp_path / "run")
    if os.environ.get("UNSPOKEN_UPDATE_GOLDEN") == "1":
        write_json(path, {"versions": environment()["packages"], **found})
        pytest.skip(f"{path.name} is recorded anew")
    recorded = read_json(path)
    where = f"recorded with {recorded['versions']}, found with {environment()['packages']}"
    assert len(found["loss"]) == 20
    assert found["data"] == recorded["data"], "the rows are other ones"
    assert found["stage"] == recorded["stage"]
    for figure in ("loss", "grad_norm"):
        assert found[figure] == pytest.approx(recorded[figure], rel=TOLERANCE), f"{figure}: {where}"


def test_the_record_holds_the_recipes_that_are_measured():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RECIPES)
