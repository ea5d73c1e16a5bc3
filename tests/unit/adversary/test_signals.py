"""Each signal reaches the model that writes; a control that is cut off does not. A bandit is won by its judgement."""

from copy import deepcopy

import pytest
import torch
from tests.unit.adversary.stories import (
    SIZE,
    VOCABULARY,
    Clip,
    Likes,
    Numbers,
    material,
    model_with_heads,
    step_of,
    tokenized,
    writer,
)

from unspoken.adversary import chance
from unspoken.adversary.adversary import GradientAdversary, RewardAdversary, Step
from unspoken.adversary.discriminators import CaptionDiscriminator, PairDiscriminator
from unspoken.adversary.drawing import draw, log_probs, without_dropout
from unspoken.adversary.guesses import GuessedVectors, StraightThroughWords, straight_through
from unspoken.adversary.negatives import HardNegatives
from unspoken.adversary.opponent import Opponent
from unspoken.adversary.reach import before_words, check_reach
from unspoken.adversary.rewards import DiscriminatorJudge, MarginJudge, surrogate
from unspoken.adversary.views import VectorView, WordView
from unspoken.errors import RecipeError
from unspoken.training.advantages import group_relative

CPU = torch.device("cpu")


def adversary_of(signal, model, rows, **settings):
    settings = {"signal": signal, "width": 16, "samples": 3, **settings}
    written, words = writer(model, **settings), WordView(Numbers(), CPU)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if signal == "embedding":
            opponent = Opponent(PairDiscriminator(SIZE, 16, 0.1), written.settings)
        else:
            opponent = Opponent(CaptionDiscriminator(VOCABULARY, SIZE, 16, 0.1), written.settings)
    if signal == "policy_gradient":
        return RewardAdversary(
            written, opponent, words, DiscriminatorJudge(opponent.discriminator, words), group_relative
        )
    view = VectorView(Clip(), Numbers(), CPU) if signal == "embedding" else words
    guesser = GuessedVectors() if signal == "embedding" else StraightThroughWords(1.0)
    of = material(rows)
    prompts = step_of(model, rows).prompts
    return GradientAdversary(written, opponent, view, guesser, of.captions, lambda row, epoch: prompts[row])


SIGNALS = ("policy_gradient", "straight_through", "embedding")


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_the_judgement_has_a_gradient_for_the_model_and_none_for_the_discriminator(signal, arch):
    model, rows = model_with_heads(arch=arch), tokenized()
    adversary = adversary_of(signal, model, rows)
    judged = adversary.step(step_of(model, rows))
    model.zero_grad()
    adversary.opponent.optimizer.zero_grad()
    judged.loss.backward()
    reached = {name for name, each in model.named_parameters() if each.grad is not None and each.grad.any()}
    blocks = {
        name.split(".")[3]
        for name in reached
        if name.startswith(("model.language_model.h.", "model.language_model.layers."))
    }
    assert blocks == {"0", "1"}
    assert any("embedding_heads" in name for name in reached) == (signal == "embedding")
    assert all(each.grad is None for each in adversary.opponent.discriminator.parameters())


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_reach_is_checked_and_a_detached_control_is_refused(signal, monkeypatch):
    model, rows = model_with_heads(), tokenized()
    adversary = adversary_of(signal, model, rows)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    chance_before = torch.get_rng_state()
    adversary.check_reach(step_of(model, rows))
    assert torch.equal(chance_before, torch.get_rng_state())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())
    model.model.register_forward_hook(_cut)
    with pytest.raises(RecipeError, match="no gradient of the adversarial loss reaches the language model; nothing"):
        adversary.check_reach(step_of(model, rows))


def _cut(module, arguments, output):
    """What the seed's code did: the judgement sees the states, and no way leads back."""
    output.last_hidden_state = output.last_hidden_state.detach()


def test_what_is_frozen_need_not_be_reached_but_something_must_be():
    model, rows = model_with_heads(), tokenized()
    for each in (*model.model.parameters(), *model.lm_head.parameters()):
        each.requires_grad_(False)
    adversary_of("embedding", model, rows).check_reach(step_of(model, rows))
    with pytest.raises(RecipeError, match="nothing that learns hears of its judgement, which reaches language model;"):
        adversary_of("straight_through", model, rows).check_reach(step_of(model, rows))


def test_a_table_that_is_tied_to_the_head_is_not_taken_for_the_language_model():
    model = model_with_heads()
    table = model.get_input_embeddings().weight
    assert model.lm_head.weight is table
    assert all(each is not table for each in before_words(model)["language model"])
    with pytest.raises(RecipeError, match="reaches the language model"):
        check_reach(table.sum(), before_words(model))


def test_a_gradient_of_nothing_but_zeros_reaches_nothing():
    model = model_with_heads()
    everything = sum(each.sum() for each in before_words(model)["language model"])
    check_reach(everything, before_words(model))
    with pytest.raises(RecipeError, match="reaches the language model"):
        check_reach(0 * everything, before_words(model))


@pytest.mark.parametrize("signal", SIGNALS)
def test_dropout_is_as_it_was_after_drawing(signal):
    model, rows = model_with_heads(dropout=0.2), tokenized()
    step = step_of(model, rows)
    model.train()
    model.lm_head.eval()
    modes = [module.training for module in model.modules()]
    adversary_of(signal, model, rows).step(step)
    assert [module.training for module in model.modules()] == modes
    with without_dropout(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes


def test_the_chance_of_the_model_is_not_touched_and_a_step_draws_the_same_again():
    model, rows = model_with_heads(), tokenized()
    for signal in SIGNALS:
        before = torch.get_rng_state()
        one = adversary_of(signal, model, rows).step(step_of(model, rows))
        assert torch.equal(before, torch.get_rng_state())
        other = adversary_of(signal, model, rows).step(step_of(model, rows))
        later = adversary_of(signal, model, rows).step(step_of(model, rows, number=1))
        assert torch.equal(one.loss, other.loss)
        assert not torch.equal(one.figures["adversary_fake"], later.figures["adversary_fake"])


def test_captions_are_scored_as_they_were_drawn():
    model, rows = model_with_heads(), tokenized(5)
    prompts = step_of(model, rows).prompts
    drawn = draw(
        model, prompts, samples=3, temperature=0.7, generator=torch.Generator().manual_seed(1), max_new_tokens=6
    )
    found, is_written = log_probs(model, drawn)
    assert is_written.sum() == drawn.num_tokens.sum()
    assert len(set(drawn.num_tokens.tolist())) > 1, "captions that end are among them"
    torch.testing.assert_close(
        found[is_written], drawn.scores.log_probs[drawn.scores.is_decision], atol=1e-5, rtol=1e-5
    )
    model.model.language_model.wte.weight.data.mul_(1.5)
    assert not torch.allclose(log_probs(model, drawn)[0][is_written], found[is_written], atol=1e-2)


def test_words_along_the_right_caption_are_drawn_from_what_the_model_says_there():
    model, rows = model_with_heads(), tokenized(4)
    step = step_of(model, rows)
    cold = StraightThroughWords(1.0)(model, 1e4 * step.states, step.labels, rows, torch.Generator().manual_seed(0))
    assert torch.equal(cold.made.is_word, cold.real.is_word)
    for index, row in enumerate(rows):
        caption = row.answer[1:-1]
        shown = int(cold.real.is_word[index].sum())
        assert cold.real.tokens[index, :shown].tolist() == caption[:-1].tolist()
        # each word alone: what the model finds likeliest behind the right words before it
        prompt = step.prompts[index].input_ids.tolist()
        for place in range(shown):
            ids = torch.tensor([[*prompt, *row.answer[: place + 1].tolist()]])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, -1]
            logits[model.generation_config.suppress_tokens] = -torch.inf
            assert int(cold.made.tokens[index, place].argmax()) == int(logits.argmax())


def test_a_word_is_drawn_as_often_as_it_is_likely_and_has_the_gradient_of_its_likelihood():
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20_000, 3)
    made = straight_through(logits, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.mean(dim=0), torch.tensor([0.5, 0.3, 0.2]), atol=0.015, rtol=0)
    torch.testing.assert_close(made.sum(dim=1), torch.ones(20_000))
    leaf = torch.zeros(3, requires_grad=True)
    straight_through(leaf[None], 1.0, torch.Generator().manual_seed(0))[0, 1].backward()
    assert leaf.grad[1] > 0 > leaf.grad[0]
    forbidden = torch.tensor([[0.0, -torch.inf, 0.0]], requires_grad=True)
    straight_through(forbidden, 1.0, torch.Generator().manual_seed(0))[0, 0].backward()
    assert torch.isfinite(forbidden.grad).all()


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_temperature_is_that_of_the_words(temperature):
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    made = straight_through(logits.expand(20_000, 3), temperature, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.mean(dim=0), (logits / temperature).softmax(dim=0), atol=0.015, rtol=0)


def test_the_guess_is_that_of_the_text_beside_the_vector_of_the_right_caption():
    model, rows = model_with_heads(), tokenized()
    step = step_of(model, rows)
    guess = GuessedVectors()(model, step.states, step.labels, rows, torch.Generator())
    for index, (row, prompt) in enumerate(zip(rows, step.prompts, strict=True)):
        with torch.no_grad():
            state = model.model(input_ids=torch.tensor(prompt.input_ids[None], dtype=torch.long)).last_hidden_state
            torch.testing.assert_close(model.embedding_heads(state[:, -1])[0, 1], guess.made[index].detach())
        assert torch.equal(guess.real[index], torch.from_numpy(row.foreseen[1]))


def test_the_surrogate_by_hand():
    log_probs_TM = torch.tensor([[-1.0, -2.0], [-3.0, -torch.inf]])
    is_written = torch.tensor([[True, True], [True, False]])
    # -(1 * (-1 - 2) - 0.5 * -3) / 3 words
    assert float(surrogate(log_probs_TM, is_written, torch.tensor([1.0, -0.5]))) == pytest.approx(1.5 / 3)


@pytest.mark.parametrize("liked", [7, 11])
def test_a_word_that_the_judge_likes_becomes_likelier(liked):
    model, rows = model_with_heads(), tokenized()
    words = WordView(Numbers(), CPU)
    judge = DiscriminatorJudge(Likes(liked), words)
    adversary = RewardAdversary(writer(model, signal="policy_gradient", samples=16), None, words, judge, group_relative)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def likelihood():
        """Mean probability of the word behind the prompts."""
        step = step_of(model, rows)
        found = draw(
            model, step.prompts, samples=50, temperature=1.0, generator=torch.Generator().manual_seed(5),
            max_new_tokens=4,
        )  # fmt: skip
        return float((found.tokens == liked).sum() / found.num_tokens.sum())

    before = likelihood()
    rewards = []
    for number in range(25):
        judged = adversary.step(step_of(model, rows, number=number))
        rewards.append(float(judged.figures["adversary_reward"]))
        optimizer.zero_grad()
        judged.loss.backward()
        optimizer.step()
    assert likelihood() > 3 * before + 0.1
    assert sum(rewards[-5:]) > 3 * sum(rewards[:5])


def test_margins_pay_captions_that_fit_their_image_better_than_images_like_it():
    images = torch.eye(4, SIZE)
    judge = MarginJudge(VectorView(Clip(), Numbers(), CPU), images, [[1, 2], [], [0], [0, 1, 2]])
    found = judge([0, 0, 1, 3], images[[0, 0, 1, 3]], ["2"] * 4, ["5", "6", "5", "5"])
    five, six = Clip().texts(["5", "6"])
    expected = [five[0] - (five[1] + five[2]) / 2, six[0] - (six[1] + six[2]) / 2, five[1], five[3] - five[:3].mean()]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("signal", SIGNALS)
def test_hard_negatives_and_kept_captions_are_shown(signal, monkeypatch):
    model, rows = model_with_heads(), tokenized()
    kept = {} if signal == "policy_gradient" else {"fakes": "cached", "cached_rows": 3}
    adversary = adversary_of(signal, model, rows, negatives="generated_and_hard", **kept)
    hard = [HardNegatives(("2 3 4 5",), ()), HardNegatives((), ()), *[HardNegatives((), ("6 7 8",))] * 2]
    shown = {}
    monkeypatch.setattr(adversary.opponent, "learn", lambda each: shown.update(each) or {})
    adversary.step(step_of(model, rows, hard=hard))
    assert shown.keys() == ({"generated", "hard"} if signal == "policy_gradient" else {"generated", "guessed", "hard"})
    assert len(shown["hard"].images) == 3, "a row without a hard negative is shown beside none"
    generated = shown["generated"]
    assert len(generated.images) == (12 if signal == "policy_gradient" else 3)
    if kept:
        cache = adversary.cache
        assert len(set(cache.rows)) == 3
        first = cache.captions
        adversary.step(step_of(model, rows, hard=hard, number=1))
        assert adversary.cache.captions == first, "once an epoch"
        adversary.step(step_of(model, rows, hard=hard, number=2, epoch=1))
        assert adversary.cache.epoch == 1
        assert adversary.cache.captions != first
        images = material(rows).images
        assert all((images == image).all(dim=1).any() for image in generated.images)


def test_the_discriminator_learns_only_every_so_many_steps():
    model, rows = model_with_heads(), tokenized()
    for signal in SIGNALS:
        adversary = adversary_of(signal, model, rows, every=3)
        learned = [
            "adversary_discriminator_loss" in adversary.step(step_of(model, rows, number=number)).figures
            for number in range(5)
        ]
        assert learned == [True, False, False, True, False]


def test_features_of_what_is_made_are_drawn_to_those_of_what_is_true():
    model, rows = model_with_heads(), tokenized()
    for signal in SIGNALS[1:]:
        judged = adversary_of(signal, model, rows, feature_matching=0.1).step(step_of(model, rows))
        model.zero_grad()
        judged.features.backward()
        assert any(each.grad is not None and each.grad.any() for each in before_words(model)["language model"])
        assert adversary_of(signal, model, rows).step(step_of(model, rows)).features is None


@pytest.mark.parametrize("signal", SIGNALS)
def test_held_out_accuracy_is_one_half_where_true_and_false_are_alike(signal, monkeypatch):
    model, rows = model_with_heads(), tokenized(60)
    hard = [HardNegatives((caption,), ()) for caption in material(rows).captions]
    adversary = adversary_of(signal, model, rows)
    assert adversary.held_out([step_of(model, rows)])["adversary_accuracy"] != 0.5
    monkeypatch.setattr(
        type(adversary.writer), "captions", lambda self, prompts, *_: material(rows).captions[: len(prompts)]
    )
    figures = adversary.held_out([step_of(model, rows, hard=hard)])
    assert figures["adversary_accuracy"] == 0.5
    assert figures["adversary_hard_accuracy"] == 0.5
    assert figures["adversary_n"] == 60
    assert figures["adversary_loss"] > 0


def test_held_out_rows_teach_nothing():
    model, rows = model_with_heads(), tokenized(8)
    for signal in SIGNALS:
        adversary = adversary_of(signal, model, rows)
        before = {name: each.clone() for name, each in adversary.opponent.discriminator.state_dict().items()}
        parts = [_some(model, rows, [0, 1, 2]), _some(model, rows, [3, 4, 5, 6, 7])]
        assert adversary.held_out(iter(parts))["adversary_n"] == 8
        after = adversary.opponent.discriminator.state_dict()
        assert all(torch.equal(each, before[name]) for name, each in after.items())


def _some(model, rows, chosen):
    part = step_of(model, [rows[index] for index in chosen])
    return Step(0, 0, material(rows), chosen, part.prompts, part.states, part.labels)


def test_chance_is_another_for_each_purpose_and_step():
    numbers = {chance.number_of(*of) for of in [(0, 0, "a"), (0, 0, "b"), (0, 1, "a"), (1, 0, "a")]}
    assert len(numbers) == 4
    assert chance.number_of(0, 0, "a") == chance.number_of(0, 0, "a")


def test_what_is_kept_is_put_back_with_its_vectors():
    model, rows = model_with_heads(), tokenized()
    adversary, again = (adversary_of("embedding", model, rows, fakes="cached", cached_rows=3) for _ in range(2))
    adversary.step(step_of(model, rows))
    again.put_back(deepcopy(adversary.state()))
    assert again.cache == adversary.cache
    assert again.view.kept.keys() == adversary.view.kept.keys() != set()
    one, other = (each.opponent.discriminator.state_dict() for each in (adversary, again))
    assert all(torch.equal(each, other[name]) for name, each in one.items())
    judged = [each.step(step_of(model, rows, number=1)) for each in (adversary, again)]
    assert torch.equal(judged[0].loss, judged[1].loss)
    assert torch.equal(
        judged[0].figures["adversary_discriminator_loss"], judged[1].figures["adversary_discriminator_loss"]
    )
