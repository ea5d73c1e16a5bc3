"""The verdict on models of which the truth is known.

tests/models holds `unspoken train hops/coconut` and `hops/pause`, seed 0: the first feeds its states back, the second
has learned constants in its slots. The two cheats are planted here: they answer right and have slots, and what stands
in the slots plays no part.
"""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from unspoken.audit import audit
from unspoken.model import LatentModel
from unspoken.recipe import resolve
from unspoken.training.supervised import train

MODELS = Path(__file__).parents[2] / "models"


def audited(tmp_path, name, **kwargs):
    return audit(shutil.copytree(MODELS / name, tmp_path / name), **kwargs)


def test_the_thoughts_of_the_coconut_of_the_demo_are_needed(tmp_path):
    found = audited(tmp_path, "hops-coconut", rows=300)
    assert found["as_trained"]["accuracy"] > 0.98
    assert found["necessity"]["verdict"] == "needed"
    low, high = found["necessity"]["interval"]
    assert 0.75 < low < found["necessity"]["cost"] < high <= 1.0
    assert found["counterfactuals"]["thoughts_followed_interval"][0] > 0.85


def test_the_slots_of_the_pause_control_are_not_needed_though_taking_them_out_costs_something(tmp_path):
    found = audited(tmp_path, "hops-pause", rows=500)
    assert found["necessity"]["verdict"] == "not needed"
    low, high = found["necessity"]["interval"]
    assert -0.02 < low <= 0.0 <= high < 0.02
    removed = next(each for each in found["interventions"] if each["name"] == "removed")
    assert removed["cost"] > 0.0


def leaking_run(path, rows=1180):
    """Trained on questions whose answer is their first word: no thought is needed."""
    rng = random.Random(0)
    questions = sorted({" ".join(rng.choice("abcdefgh") for _ in range(5)) for _ in range(2 * rows)})
    rng.shuffle(questions)
    files = {}
    for split, part in {"train": slice(0, 640), "validation": slice(640, 680), "test": slice(680, rows)}.items():
        values = [{"question": q, "steps": [q.split()[2]], "answer": q.split()[0]} for q in questions[part]]
        files[split] = str(path.parent / f"{split}.json")
        Path(files[split]).write_text(json.dumps(values))
    recipe = resolve(
        {
            "task": {"name": "custom", **files, "max_answer_tokens": 6},
            "model": {"layers": 2, "heads": 2, "width": 32, "max_positions": 64, "init_std": 0.08},
            "method": {"name": "coconut", "max_stage": 1, "epochs_per_stage": [5, 5]},
            "train": {
                "epochs": 10, "batch_size": 32, "learning_rate": 0.003, "warmup_steps": 20,
                "reset_optimizer": "never", "validate_every": 10, "save": "end",
            },
        },
        "test",
    )  # fmt: skip
    return train(recipe, path)


def test_a_model_whose_answer_leaks_from_the_question_does_not_fool_the_audit(tmp_path):
    found = audit(leaking_run(tmp_path / "run"))
    assert found["as_trained"]["accuracy"] > 0.95
    assert found["necessity"]["verdict"] == "not needed"
    assert found["necessity"]["interval"][1] < 0.02


@pytest.fixture
def blind(monkeypatch):
    """Models whose positions never attend to a slot, in training and afterwards."""
    usual = LatentModel.forward

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, **kwargs):
        rows, length = input_ids.shape
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        if attention_mask is None:
            attention_mask = torch.ones(rows, past + length, dtype=torch.long)
        if position_ids is None:
            position_ids = (attention_mask.cumsum(dim=1) - 1).clamp(min=0)[:, -length:]
        seen = (input_ids != self.config.latent_token_id).long()
        self.seen = torch.cat([self.seen, seen], dim=1) if past else seen
        return usual(
            self,
            input_ids=input_ids,
            attention_mask=attention_mask * self.seen,
            position_ids=position_ids,
            past_key_values=past_key_values,
            **kwargs,
        )

    monkeypatch.setattr(LatentModel, "forward", forward)


def test_a_model_that_ignores_its_thoughts_does_not_fool_the_audit(tmp_path, blind):
    found = audit(leaking_run(tmp_path / "run"))
    assert found["as_trained"]["accuracy"] > 0.8
    costs = {each["name"]: each for each in found["interventions"]}
    assert all(costs[name]["changed"] == 0.0 for name in ("zero", "mean", "swap_other", "noise_2"))
    assert found["necessity"]["verdict"] == "not needed"
    low, high = found["necessity"]["interval"]
    assert -0.02 < low <= 0.0 <= high < 0.02
