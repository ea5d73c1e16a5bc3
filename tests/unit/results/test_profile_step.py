"""The profile of a step: shares that add up, phases that are named, and a compiler that may be missing."""

from contextlib import contextmanager

import profile_step
import pytest
import torch

from unspoken.files import read_json
from unspoken.model.modeling import LatentModel

TINY = [
    *("task.train_rows=24", "train.batch_size=8", "model.layers=1", "model.heads=2", "model.width=16"),
    *("--batches", "2", "--rounds", "1"),
]


def test_the_shares_of_a_step_are_the_whole_of_it(tmp_path):
    out = tmp_path / "profile.json"
    profile_step.main([*TINY, "--without-compile", "--out", str(out)])
    found = read_json(out)
    assert found["rows"] == 8
    assert found["stage"] == 3
    assert found["compile"] is None
    assert set(found["phases"]) == {*profile_step.PHASES, "step"}
    assert 0.95 < sum(found["profile"]["shares"].values()) <= 1.001
    named = {*profile_step.GROUPS, profile_step.ELSE, profile_step.PYTHON, "making the batch", "optimizer"}
    assert set(found["profile"]["shares"]) == named
    assert all(share > 0 for share in found["profile"]["shares"].values())


def test_steps_that_finish_all_states_take_turns_with_those_that_do_not(tmp_path):
    out, read = tmp_path / "profile.json", []
    with noting_what_is_read(read):
        profile_step.main([*TINY, "--without-compile", "--out", str(out)])
    found = read_json(out)["unread"]
    assert found["rounds"] == 2
    assert {name: len(samples) for name, samples in found["samples"].items()} == {
        "as it is": 2,
        "all states finished": 2,
    }
    assert found["ratio"] > 0
    assert len(set(read)) == 2, "as it is, and in full"


@contextmanager
def noting_what_is_read(seen):
    """Note whether a model whose thoughts are made is one that reads any state."""
    forward = LatentModel.forward

    def noting(self, *args, **kwargs):
        seen.append(self.thought_source.reads_window)
        return forward(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LatentModel, "forward", noting)
        yield


def test_compiled_and_eager_steps_take_turns_and_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)
    out = tmp_path / "profile.json"
    profile_step.main([*TINY, "--out", str(out)])
    found = read_json(out)["compile"]
    assert found["rounds"] == 2
    assert {name: len(samples) for name, samples in found["samples"].items()} == {"eager": 2, "compiled": 2}
    assert found["largest_difference_of_losses"] == 0.0
    assert found["ratio"] > 0


def test_a_compiler_that_is_missing_is_the_result(tmp_path, monkeypatch):
    def compile(function, **settings):
        raise RuntimeError("there is no C++ compiler\nand more about it")

    monkeypatch.setattr(torch, "compile", compile)
    out = tmp_path / "profile.json"
    profile_step.main([*TINY, "--out", str(out)])
    assert read_json(out)["compile"] == {"outcome": "RuntimeError: there is no C++ compiler", "ratio": None}


@pytest.mark.parametrize(
    ("name", "phase", "group"),
    [
        ("aten::addmm", "forward", "matrix products of linear layers"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "backward", "attention"),
        ("aten::native_layer_norm", "forward", "layer norm"),
        ("aten::embedding_dense_backward", "backward", "embedding, head and loss"),
        ("aten::copy_", "forward", profile_step.ELSE),
        ("autograd::engine::evaluate_function: AddmmBackward0", "backward", profile_step.PYTHON),
        ("aten::addmm", "optimizer", "optimizer"),
    ],
)
def test_an_operation_belongs_to_one_group(name, phase, group):
    assert profile_step.group_of(name, phase) == group
