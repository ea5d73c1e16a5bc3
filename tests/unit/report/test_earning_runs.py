"""Runs that learn from rewards: what they earn is drawn, their loss is not."""

from xml.etree import ElementTree

import pytest
from tests.unit.report.synthetic_runs import build_run, learn_from_rewards

from unspoken.errors import CheckpointError
from unspoken.report.figures import pictures_of_training
from unspoken.report.read import read_runs


@pytest.fixture
def run(tmp_path):
    return build_run(tmp_path / "grpo", method="grpo", stages=(0,))


def drawn(*paths):
    return {picture.name: picture for picture in pictures_of_training(read_runs(paths))}


def texts(picture):
    return [element.text for element in ElementTree.fromstring(str(picture.svg)).iter("text")]


def test_rewards_stand_in_the_place_of_the_loss(run):
    learn_from_rewards(run, [0.25, 0.5, 0.75], checks=[(30, 4.0)])
    pictures = drawn(run)
    assert [*pictures] == ["reward-exact", "validation"]
    assert "grpo: from 0.25 to 0.75 in 30 updates." in pictures["reward-exact"].svg
    assert {"update", "grpo", "0.0"} <= set(texts(pictures["reward-exact"]))


def test_costs_are_drawn_where_they_make_a_difference(run):
    learn_from_rewards(run, [0.5, 1.0], paid=[0.3, -0.1])
    pictures = drawn(run)
    assert [*pictures] == ["reward-exact", "reward"]
    assert "grpo: from 0.3 to -0.1 in 20 updates." in pictures["reward"].svg


def test_a_policy_that_learns_when_to_stop_shows_its_thoughts_with_chance_and_without(run, tmp_path):
    learn_from_rewards(run, [0.5, 1.0], thoughts=[3.5, 1.25], checks=[(10, 4.0), (20, 0.75)], halts=True)
    fixed = build_run(tmp_path / "fixed", method="ppo", stages=(0,))
    learn_from_rewards(fixed, [0.5, 1.0])
    picture = drawn(run, fixed)["thoughts"]
    assert "grpo: from 3.5 to 1.25 in 20 updates, at the last validation 0.75; " in picture.svg
    assert "fixed: from 4 to 4 in 20 updates." in picture.svg
    assert "thoughts" not in drawn(fixed)


def test_every_validation_is_a_hollow_mark(run):
    def hollow():
        return str(drawn(run)["thoughts"].svg).count("fill: var(--paper); stroke: var(--series-0)")

    learn_from_rewards(run, [0.5, 1.0, 1.0], checks=[(10, 4.0), (20, 2.0)], halts=True)
    before = hollow()
    learn_from_rewards(run, [0.5, 1.0, 1.0], checks=[(10, 4.0), (20, 2.0), (30, 1.0)], halts=True)
    assert (before, hollow()) == (2, 3)


def test_a_run_without_rewards_keeps_its_loss_beside_one_with(run, tmp_path):
    learn_from_rewards(run, [0.5, 1.0])
    other = build_run(tmp_path / "coconut")
    pictures = drawn(other, run)
    assert [*pictures] == ["loss", "reward-exact", "validation"]
    assert "coconut: from 2 to 0.0833" in pictures["loss"].svg
    assert "grpo" not in pictures["loss"].svg
    assert "coconut" not in pictures["reward-exact"].svg


@pytest.mark.parametrize("damage", ['"much"', "NaN", "Infinity", "[]"])
@pytest.mark.parametrize("name", ["reward", "reward_exact", "thoughts"])
def test_a_damaged_reward_is_named_with_its_line(run, name, damage):
    learn_from_rewards(run, [0.5, 1.0])
    lines = (run / "metrics.jsonl").read_text().splitlines()
    start = lines[0].index(f'"{name}": ') + len(name) + 4
    lines[0] = lines[0][:start] + damage + lines[0][lines[0].index(",", start) :]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(CheckpointError, match=r"metrics.jsonl is damaged.*copy it again"):
        read_runs([run])
