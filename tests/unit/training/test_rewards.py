"""What trajectories are paid: by the task's scorer, by math-verify beside it, part by part."""

import pytest
import torch

from unspoken.errors import NonFiniteError, RecipeError
from unspoken.methods.reinforcement import RewardWeights
from unspoken.records import Example, Score
from unspoken.tasks import TASKS
from unspoken.training.rewards import MAX_CHARACTERS, Rewards, Verdicts, rewards_of, score_answers, shuffled

EXAMPLES = [Example("1", "How many?", (), "72"), Example("2", "How much?", (), "1/2")]
TEXTS = ["### 72", "### 70+2", "no idea", "### 0.5", "### \\frac{1}{2}", "### 7"]


class Said:
    """A judge that finds equal what it is told to."""

    def __init__(self, **verdicts):
        self.verdicts, self.asked = verdicts, []

    def judge(self, gold, text):
        self.asked.append((gold, text))
        return self.verdicts.get(text.removeprefix("### "), "different")


def score(verdict):
    return Score(verdict, None)


def test_each_text_is_judged_against_its_own_question():
    verdicts = score_answers(TASKS["gsm8k"](), EXAMPLES, TEXTS, siblings=3)
    assert [each.verdict for each in verdicts.scores] == [
        "right",
        "no answer",
        "no answer",
        "right",
        "no answer",
        "wrong",
    ]
    assert verdicts.is_right.tolist() == [True, False, False, True, False, False]
    assert verdicts.is_answer.tolist() == [True, False, False, True, False, True]
    assert verdicts.verified is None


def test_what_the_judge_finds_equal_is_right_too_and_the_official_score_stays():
    judge = Said(**{"70+2": "equal", "7": "failed", "no idea": "unread"})
    verdicts = score_answers(TASKS["gsm8k"](), EXAMPLES, TEXTS, 3, judge)
    assert judge.asked == [*(("72", text) for text in TEXTS[:3]), *(("0.5", text) for text in TEXTS[3:])]
    assert verdicts.verified == ("different", "equal", "unread", "different", "different", "failed")
    assert verdicts.is_right.tolist() == [True, True, False, True, False, False]
    assert verdicts.is_equal.tolist() == [False, True, False, False, False, False]
    assert [each.verdict for each in verdicts.scores][1] == "no answer"


def test_a_judge_of_numbers_is_refused_where_answers_are_words():
    example = Example("prosqa/test/1", "Is Sally a gorpus or a bompus?", (), "Sally is a bompus.")
    with pytest.raises(RecipeError, match=r"the answer of prosqa/test/1 in task prosqa is 'Sally is a bompus\.'"):
        score_answers(TASKS["prosqa"](), [example], ["### Sally is a bompus."], 1, Said())


def test_texts_must_be_of_the_questions():
    with pytest.raises(ValueError, match="5 texts for 2 questions with 3 trajectories each; give 6"):
        score_answers(TASKS["gsm8k"](), EXAMPLES, TEXTS[:5], siblings=3)


def test_a_text_beyond_all_bounds_is_no_answer():
    judge = Said()
    texts = ["x" * (MAX_CHARACTERS - 6) + "### 72", "x" * (MAX_CHARACTERS - 5) + "### 72"]
    verdicts = score_answers(TASKS["gsm8k"](), EXAMPLES[:1], texts, 2, judge)
    assert [each.verdict for each in verdicts.scores] == ["right", "no answer"]
    assert [text for _, text in judge.asked] == [texts[0], ""]


def test_components_add_up_to_the_total():
    verdicts = Verdicts((score("right"), score("wrong"), score("no answer")))
    rewards = rewards_of(
        verdicts,
        torch.tensor([2, 0, 5]),
        torch.tensor([3, 1, 2]),
        torch.tensor([1.5, -2.0, 0.0]),
        RewardWeights(exact=2.0, gold_gain=0.5, format=0.25, thought_cost=0.1, token_cost=0.5),
    )
    expected = {
        "exact": [2.0, 0.0, 0.0],
        "gold_gain": [0.75, -1.0, 0.0],
        "format": [0.25, 0.25, 0.0],
        "thought_cost": [-0.2, 0.0, -0.5],
        "token_cost": [-1.5, -0.5, -1.0],
    }
    assert rewards.components.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(rewards.components[name], torch.tensor(values))
    torch.testing.assert_close(rewards.total, torch.tensor([1.3, -1.25, -1.5]))
    assert rewards.means() == pytest.approx(
        {"exact": 2 / 3, "gold_gain": -1 / 12, "format": 1 / 6, "thought_cost": -0.7 / 3, "token_cost": -1.0}
    )


def test_the_reward_changes_when_the_answer_does():
    def total(text):
        verdicts = score_answers(TASKS["gsm8k"](), EXAMPLES[:1], [text], 1)
        return float(rewards_of(verdicts, torch.tensor([3]), torch.tensor([2]), None, RewardWeights()).total[0])

    assert total("### 72") == 1.0
    assert total("### 73") == 0.0


def test_shares_are_of_what_sets_trajectories_apart():
    rewards = Rewards(
        {
            "exact": torch.tensor([1.0, 0.0, 1.0, 0.0]),  # spread 1/2
            "gold_gain": torch.zeros(4),
            "format": torch.full((4,), 0.25),  # all earn it: it teaches nothing
            "thought_cost": torch.tensor([-0.25, 0.0, -0.25, 0.0]),  # spread 1/8
        },
        torch.zeros(4),
    )
    assert rewards.shares() == pytest.approx({"exact": 0.8, "gold_gain": 0.0, "format": 0.0, "thought_cost": 0.2})
    alike = Rewards({"exact": torch.ones(4), "format": torch.ones(4)}, torch.full((4,), 2.0))
    assert alike.shares() == {"exact": 0.0, "format": 0.0}


def test_a_gain_that_counts_must_be_measured_and_be_a_number():
    verdicts, counts = Verdicts((score("right"), score("wrong"))), torch.tensor([1, 1])
    with pytest.raises(ValueError, match=r"gold_gain has the weight 0\.5 and was not measured"):
        rewards_of(verdicts, counts, counts, None, RewardWeights(gold_gain=0.5))
    with pytest.raises(NonFiniteError, match="the reward gold_gain of trajectory 1 is -inf"):
        rewards_of(verdicts, counts, counts, torch.tensor([0.0, -torch.inf]), RewardWeights(gold_gain=0.5))


def test_the_control_pays_the_same_rewards_to_others():
    total = torch.arange(200.0)
    rewards = Rewards({"exact": total / 2, "format": total / 2}, total)
    found = shuffled(rewards, torch.Generator().manual_seed(0))
    assert sorted(found.total.tolist()) == total.tolist()
    torch.testing.assert_close(found.components["exact"] + found.components["format"], found.total)
    assert (found.total == total).sum() < 10
    # across questions too, not only among siblings: every tenth of the batch gets rewards from all over
    assert found.total.view(10, 20).std(dim=1).min() > 20
    assert shuffled(rewards, torch.Generator().manual_seed(0)).total.tolist() == found.total.tolist()
    assert shuffled(rewards, torch.Generator().manual_seed(1)).total.tolist() != found.total.tolist()
