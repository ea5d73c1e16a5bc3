"""Two processes draw the trajectories that one draws."""

import json

import pytest

from tests.reliability.test_two_processes import unspoken
from tests.unit.trajectories.runs import policy_run


def test_trajectories_do_not_depend_on_the_number_of_processes(tmp_path):
    run = policy_run(tmp_path / "run", halt_after=1)
    found = []
    for processes in (1, 2):
        unspoken(processes, "eval", run.path, "--trajectories", 4, "batch_size=20")
        found.append(json.loads((run.path / "trajectories.json").read_text()))
        (run.path / "trajectories.json").unlink()
    one, two = found
    assert two["environment"]["processes"] == 2
    assert one["figures"] == two["figures"]
    assert one["siblings"] == two["siblings"]
    assert 0 < one["figures"][0]["single"]["accuracy"] < 1
    assert len(one["thoughts"]) == len(two["thoughts"]) == 4
    for first, second in zip(one["thoughts"], two["thoughts"], strict=True):
        assert second == pytest.approx(first)
