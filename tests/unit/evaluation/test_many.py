"""`unspoken eval --trajectories`: the figures are those of what a rollout draws, for policies and for words alone."""

import shutil

import pytest
import torch
from tests.unit.trajectories.runs import TRAINED, policy_run

from unspoken.data.tokenizer import thought_tokens
from unspoken.errors import RecipeError
from unspoken.evaluation.evaluate import evaluate
from unspoken.evaluation.many import evaluate_many, table
from unspoken.files import read_json
from unspoken.prepare import read_examples, tokenize_rows
from unspoken.trajectories import Chance, rollout


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return policy_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def coconut(tmp_path):
    return shutil.copytree(TRAINED, tmp_path / "coconut")


def test_without_chance_one_trajectory_is_the_evaluation(plain):
    expected = evaluate(plain.path, overrides=["controls=[]"])
    found = evaluate_many(plain.path, trajectories=1, chance=Chance(temperature=0.0))
    (figures,) = found["figures"]
    for name in ("single", "vote", "oracle"):
        assert figures[name]["accuracy"] == expected["accuracy"] > 0.9
        assert figures[name]["interval"] == expected["interval"]
    assert figures["tokens_per_question"] == expected["tokens_per_answer"]
    assert figures["passes_per_question"] == expected["passes_per_answer"]
    assert figures["agreement"] is None


def test_figures_are_those_of_what_is_drawn(plain):
    found = evaluate_many(plain.path, trajectories=4, overrides=["batch_size=1000"])
    assert [each["num_trajectories"] for each in found["figures"]] == [1, 2, 4]
    assert found["drawn_together"]
    recipe = plain.recipe
    rows = tokenize_rows(recipe, *read_examples(recipe.task, "validation"), plain.tokenizer, plain.model)
    prompts = [recipe.method.prompt(row, 0, thought_tokens(plain.tokenizer)) for row in rows.tokenized]
    # another draw of as many: the same up to chance
    drawn = rollout(
        plain.model,
        prompts,
        siblings=64,
        chance=Chance(),
        generator=torch.Generator().manual_seed(5),
        max_new_tokens=recipe.task.max_new_tokens,
    )
    texts = [plain.tokenizer.decode(drawn.answer(index), skip_special_tokens=True) for index in range(len(drawn))]
    right = [recipe.task.score(rows.examples[i // 64], text).verdict == "right" for i, text in enumerate(texts)]
    share = sum(right) / len(right)
    single = [each["single"]["accuracy"] for each in found["figures"]]
    assert single == [single[0]] * 3
    assert single[0] == pytest.approx(share, abs=0.15)
    assert 0.2 < share < 0.95
    oracle = [each["oracle"]["accuracy"] for each in found["figures"]]
    assert oracle == sorted(oracle)
    assert oracle[0] == single[0] < oracle[-1]
    of_one = [sum(right[64 * i : 64 * i + 64]) / 64 for i in range(24)]
    assert oracle[2] == pytest.approx(sum(1 - (1 - p) ** 4 for p in of_one) / 24, abs=0.15)
    assert sum(each["accuracy"] for each in found["siblings"]) / 4 == pytest.approx(single[0])
    assert [each["pairs"] for each in found["thoughts"]] == [24 * 6] * 4
    assert all(0 < each["cosine"] < 0.99 for each in found["thoughts"])


def test_the_file_is_what_is_returned_and_depends_on_the_seed_alone(plain):
    first = evaluate_many(plain.path, trajectories=2)
    assert read_json(plain.path / "trajectories.json")["figures"] == [
        {
            name: {**each, "interval": list(each["interval"])} if isinstance(each, dict) else each
            for name, each in row.items()
        }
        for row in first["figures"]
    ]
    assert evaluate_many(plain.path, trajectories=2)["thoughts"] == first["thoughts"]
    assert evaluate_many(plain.path, trajectories=2, seed=1)["thoughts"] != first["thoughts"]


@pytest.mark.parametrize("thoughts", [{"identities": 2}, {"memory": {"name": "episodic"}}], ids=str)
def test_siblings_that_differ_by_more_than_chance_are_drawn_anew_for_each_number(tmp_path, thoughts):
    run = policy_run(tmp_path, **thoughts)
    found = evaluate_many(run.path, trajectories=4)
    assert not found["drawn_together"]
    single = [each["single"]["accuracy"] for each in found["figures"]]
    assert single != [single[0]] * 3
    assert {each["single"]["accuracy"] * 24 for each in found["figures"][:1]} <= set(range(25))


def test_a_spread_is_that_of_as_many_as_there_are(plain):
    found = evaluate_many(plain.path, trajectories=2, chance=Chance(temperature=2.0, spread=1.9))
    assert not found["drawn_together"]
    cold, warm = (each["accuracy"] for each in found["siblings"])
    assert cold > warm + 0.3


def test_self_consistency_of_words_is_measured_alike(coconut):
    found = evaluate_many(coconut, trajectories=4, chance=Chance(token_temperature=8.0), overrides=["batch_size=400"])
    one, _, four = found["figures"]
    assert found["drawn_together"]
    assert 0 < one["single"]["accuracy"] < 1
    assert four["likelihood"]["accuracy"] > four["single"]["accuracy"] + 0.05
    # thoughts are the same for all, and are had once
    assert four["thoughts_per_question"] == one["thoughts_per_question"] == 4
    assert four["passes_per_question"] == pytest.approx(4 + 4 * (one["passes_per_question"] - 4))
    assert found["thoughts"][0]["distance"] == pytest.approx(0, abs=1e-9)


def test_a_critic_adds_its_choice(tmp_path):
    run = policy_run(tmp_path, method="ppo", critic=True, halt_after=0)
    found = evaluate_many(run.path, trajectories=4)
    assert {"value", "likelihood", "weighted"} < found["figures"][-1].keys()
    assert 0.05 < found["stopped"] < 0.95
    assert found["figures"][-1]["thoughts_per_question"] < 16
    assert "value" in table(found)


def test_all_mistakes_are_named_at_once(plain, coconut):
    with pytest.raises(RecipeError) as error:
        evaluate_many(plain.path, trajectories=0, chance=Chance(spread=-1), overrides=["controls=[zero]"], seed=-1)
    names = [problem.partition(":")[0] for problem in error.value.problems]
    assert names == ["trajectories", "spread", "controls", "seed"]
    with pytest.raises(RecipeError, match="leave nothing to chance, so all 16 trajectories would be the same"):
        evaluate_many(coconut)


def test_the_table_shows_every_number_with_its_interval(plain):
    found = evaluate_many(plain.path, trajectories=3)
    lines = table(found).split("\n")
    assert lines[0].split() == ["N", "single", "vote", "likelihood", "weighted", "oracle"]
    last = found["figures"][-1]
    low, high = last["vote"]["interval"]
    assert lines[3].startswith(" 3  ")
    assert f"{last['vote']['accuracy']:.3f} [{low:.3f}, {high:.3f}]" in lines[3]
    assert lines[8].split()[:2] == ["3", f"{last['thoughts_per_question']:.1f}"]
    assert "24 questions" in lines[10]
