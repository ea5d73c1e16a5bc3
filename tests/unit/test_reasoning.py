"""One question, several trajectories: what is returned is what was drawn, and mistakes are named."""

import pytest
import torch
from tests.unit.trajectories.runs import TRAINED, policy_run, question

from unspoken.answer import ask, example_of, lens, prompt_of
from unspoken.errors import DataError, RecipeError
from unspoken.reasoning import reason, render
from unspoken.run_directory import open_run
from unspoken.trajectories import Chance, rollout
from unspoken.trajectories.fusion import FUSIONS


@pytest.fixture(scope="module")
def halting(tmp_path_factory):
    return policy_run(tmp_path_factory.mktemp("halting"), method="ppo", halt_after=1, critic=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return policy_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def coconut():
    return open_run(TRAINED)


def test_without_chance_one_trajectory_is_the_answer_of_ask(plain, coconut):
    for run in (plain, coconut):
        for index in range(6):
            asked = ask(run, question(run, index))
            found = reason(run, question(run, index), temperature=0.0)
            assert (found.answer, found.confidence) == (asked.answer, 1.0)
            (only,) = found.trajectories
            assert (only.text, only.num_thoughts, only.stopped) == (asked.text, 4, False)
            assert [[word for word, _ in words] for words in only.thoughts] == [
                [word for word, _ in words] for words in asked.thoughts
            ]


def test_what_is_returned_is_what_a_rollout_draws(halting):
    run = halting
    found = reason(run, question(run), num_trajectories=6, seed=3, return_all_trajectories=True, fuse="value")
    drawn = rollout(
        run.model,
        [prompt_of(run, example_of(run, question(run), (), ()), None)],
        siblings=6,
        chance=Chance(),
        generator=torch.Generator().manual_seed(3),
        max_new_tokens=run.recipe.task.max_new_tokens,
    )
    assert len(found.trajectories) == 6
    assert len(set(drawn.num_thoughts.tolist())) > 1
    for index, each in enumerate(found.trajectories):
        count = int(drawn.num_thoughts[index])
        assert each.text == run.tokenizer.decode(drawn.answer(index), skip_special_tokens=True)
        assert each.answer == run.recipe.task.read_answer(each.text)
        assert each.log_likelihood == pytest.approx(float(drawn.log_likelihoods[index]))
        # the words are the likeliest, so the last decision is on the last thought, or to have no more
        last = drawn.scores.is_decision[index].nonzero()[-1]
        assert int(last) == min(count, 3)
        assert each.value == pytest.approx(float(drawn.scores.values[index, last]))
        assert (each.num_thoughts, each.stopped) == (count, count < 4)
        assert each.thoughts == tuple(lens(run, thought) for thought in drawn.thoughts[index, :count])
    best = max((each for each in found.trajectories if each.answer is not None), key=lambda each: each.value)
    assert found.answer == best.answer


@pytest.mark.parametrize("fuse", FUSIONS)
def test_the_trajectory_that_is_kept_is_one_with_the_answer(halting, fuse):
    settings = {"num_trajectories": 5, "fuse": fuse, "seed": 1}
    every = reason(halting, question(halting), return_all_trajectories=True, **settings)
    found = reason(halting, question(halting), **settings)
    assert (found.answer, found.confidence) == (every.answer, every.confidence)
    assert found.trajectories[0].answer == found.answer
    assert found.trajectories[0] in every.trajectories
    if fuse == "vote":
        assert found.confidence == [each.answer for each in every.trajectories].count(found.answer) / 5
        assert found.confidence < 1


def test_seeds_and_temperatures_change_what_is_drawn(plain):
    def texts(**kwargs):
        found = reason(plain, question(plain), num_trajectories=8, return_all_trajectories=True, **kwargs)
        return [each.text for each in found.trajectories]

    assert texts(seed=1) == texts(seed=1)
    assert texts(seed=1) != texts(seed=2)
    assert len(set(texts(temperature=0.05))) == 1
    assert len(set(texts(temperature=3.0))) > 2
    assert len(set(texts(temperature=0.0, token_temperature=20.0))) > 2


def test_words_alone_may_be_left_to_chance(coconut):
    found = reason(coconut, question(coconut), num_trajectories=6, token_temperature=20.0, return_all_trajectories=True)
    assert len({each.text for each in found.trajectories}) > 2
    assert len({each.thoughts for each in found.trajectories}) == 1


def test_it_thinks_and_writes_as_much_as_it_is_told_to(plain):
    found = reason(plain, question(plain), num_trajectories=2, num_thoughts=2, max_new_tokens=1)
    assert found.trajectories[0].num_thoughts == 2
    assert len(found.trajectories[0].text.split()) == 1


def test_all_mistakes_are_named_at_once(plain):
    with pytest.raises(RecipeError) as error:
        reason(
            plain, " ", num_trajectories=65, fuse="best", temperature=-1.0, token_temperature=float("nan"),
            spread=2.0, num_thoughts=-1, max_new_tokens=0, images=["a.png"],
        )  # fmt: skip
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "question",
        "thoughts",
        "max_new_tokens",
        "images",
        "trajectories",
        "temperature",
        "token_temperature",
        "spread",
        "fuse",
    ]


def test_trajectories_that_would_all_be_one_are_refused(plain, coconut, tmp_path):
    with pytest.raises(RecipeError, match="the thoughts of last_hidden leave nothing to chance, so all 5"):
        reason(coconut, question(coconut), num_trajectories=5)
    with pytest.raises(RecipeError, match="temperature: with 0, and token_temperature 0, all 3"):
        reason(plain, question(plain), num_trajectories=3, temperature=0.0)
    with pytest.raises(RecipeError, match="there are no thoughts to draw, so all 2"):
        reason(plain, question(plain), num_trajectories=2, num_thoughts=0)
    apart = policy_run(tmp_path, identities=3)
    found = reason(apart, question(apart), num_trajectories=3, temperature=0.0, return_all_trajectories=True)
    assert len({each.thoughts for each in found.trajectories}) == 3


def test_values_need_a_critic_and_a_decision(plain, halting):
    with pytest.raises(RecipeError, match="value needs a critic, and this model has none"):
        reason(plain, question(plain), fuse="value")
    with pytest.raises(RecipeError, match="there is none; fuse by vote"):
        reason(halting, question(halting), fuse="value", temperature=0.0)


def test_a_question_that_is_too_long_is_refused(plain):
    with pytest.raises(DataError, match="positions with its 60 thoughts, the model has 64; let it think less often"):
        reason(plain, question(plain), num_thoughts=60)


def test_the_answer_is_shown_with_its_trajectories(halting):
    found = reason(halting, question(halting), num_trajectories=3, return_all_trajectories=True)
    lines = render(found, show_thoughts=True).split("\n")
    assert lines[-2:] == [f"answer: {found.answer}", f"confidence: {found.confidence:.2f}"]
    thoughts = sum(each.num_thoughts for each in found.trajectories)
    assert len(lines) == 2 + 3 + thoughts
    first = found.trajectories[0]
    assert lines[0].startswith(f"trajectory 1: {first.text.strip()!r}, log-likelihood {first.log_likelihood:.2f}")
    assert lines[1].startswith(f"  thought 1: {first.thoughts[0][0][0]!r} {first.thoughts[0][0][1]:.2f}")
    assert len(render(found, show_thoughts=False).split("\n")) == 5
    assert sum("stopped by itself" in line for line in lines) == sum(each.stopped for each in found.trajectories)


def test_the_public_name_stays_a_function_once_its_module_is_imported():
    import unspoken.reasoning

    assert unspoken.reason is unspoken.reasoning.reason
    assert callable(unspoken.reason)
