"""Discriminators, their losses, and what they learn of pairs that differ and of pairs that do not."""

import pytest
import torch

from unspoken.adversary.discriminators import CaptionDiscriminator, PairDiscriminator, Words
from unspoken.adversary.hinge import discriminator_loss, feature_distance, generator_loss, told_apart
from unspoken.adversary.opponent import Opponent, Shown, shares
from unspoken.config import AdversarySettings

SIZE = 4


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def test_the_hinge_loss_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, -0.25])
    # true pairs: max(0, 1 - 2) = 0, 0.5, 2; false ones: max(0, 1 - 3) = 0, 0.75
    assert float(discriminator_loss(real, fake)) == pytest.approx(2.5 / 3 + 0.75 / 2)
    assert float(generator_loss(fake)) == pytest.approx(3.25 / 2)


def test_equal_features_are_no_distance_and_others_their_mean_difference():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert float(feature_distance(features, features.flip(0))) == 0.0
    assert float(feature_distance(features, features + torch.tensor([1.0, -3.0]))) == pytest.approx(2.0)


def test_a_pair_is_told_apart_by_the_higher_score_and_equal_scores_are_half():
    assert told_apart(torch.tensor([1.0, 0.0, 2.0, 2.0]), torch.tensor([0.0, 1.0, 2.0, 1.0])) == 2.5


def test_hard_negatives_are_one_half():
    assert shares({"generated": 0, "guessed": 0, "hard": 0}) == {"generated": 0.25, "guessed": 0.25, "hard": 0.5}
    assert shares({"generated": 0, "guessed": 0}) == {"generated": 0.5, "guessed": 0.5}
    assert shares({"generated": 0}) == {"generated": 1.0}
    assert shares({"hard": 0}) == {"hard": 1.0}


def vectors(generator, shift, count=64):
    images = torch.randn(count, SIZE, generator=generator)
    real = images + 0.1 * torch.randn(count, SIZE, generator=generator)
    return images, real, images + shift + 0.1 * torch.randn(count, SIZE, generator=generator)


def captions(generator, shift, count=64):
    """Words whose order depends on the image; with a shift, the other way round."""
    images = torch.randn(count, SIZE, generator=generator)
    first = (images[:, :1] > 0).long()
    real = torch.cat([first, 1 - first, torch.full_like(first, 2)], dim=1)
    fake = real[:, [1, 0, 2]] if shift else real.clone()
    is_word = torch.ones(count, 3, dtype=torch.bool)
    return images, Words(real, is_word), Words(fake, is_word)


KINDS = {
    "vectors": (vectors, lambda: PairDiscriminator(SIZE, 32, 0.1)),
    "words": (captions, lambda: CaptionDiscriminator(3, SIZE, 32, 0.1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [1.0, 0.0])
def test_it_learns_to_tell_shifted_pairs_apart_and_equal_ones_stay_at_one_half(kind, shift):
    draw, build = KINDS[kind]
    generator = torch.Generator().manual_seed(0)
    opponent = Opponent(seeded(build), AdversarySettings(learning_rate=5e-3))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        figures = [opponent.learn({"generated": Shown(*draw(generator, shift))}) for _ in range(150)]
    with torch.no_grad():
        real, fake = opponent.scores(Shown(*draw(generator, shift, 2000)))
    accuracy = told_apart(real, fake) / 2000
    if shift:
        assert accuracy > 0.95
        assert figures[-1]["adversary_discriminator_loss"] < 1.0 < figures[0]["adversary_discriminator_loss"]
        assert figures[-1]["adversary_real"] > figures[-1]["adversary_fake"]
    else:
        assert accuracy == pytest.approx(0.5, abs=0.04)


def test_words_are_read_in_their_order_and_padding_is_not():
    discriminator = seeded(lambda: CaptionDiscriminator(9, SIZE, 32, 0.0)).eval()
    images = torch.ones(1, SIZE)

    def score(tokens, is_word):
        return discriminator(images, Words(torch.tensor([tokens]), torch.tensor([is_word]))).scores.item()

    alone = score([1, 2], [True, True])
    assert score([1, 2, 7], [True, True, False]) == pytest.approx(alone, abs=1e-6)
    assert score([1, 2, 7], [True, True, True]) != pytest.approx(alone, abs=1e-4)
    assert score([2, 1], [True, True]) != pytest.approx(alone, abs=1e-4)
    assert score([5], [False]) == score([6], [False]), "of a caption without words nothing is read"


def test_one_hot_words_are_judged_as_their_ids_and_pass_the_gradient_on():
    discriminator = seeded(lambda: CaptionDiscriminator(9, SIZE, 32, 0.0)).eval()
    ids, is_word = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)
    hot = torch.nn.functional.one_hot(ids, 9).float().requires_grad_()
    by_id, by_share = (discriminator(torch.ones(1, SIZE), Words(each, is_word)) for each in (ids, hot))
    torch.testing.assert_close(by_id.scores, by_share.scores)
    by_share.scores.sum().backward()
    assert hot.grad.abs().sum() > 0


def test_as_a_judge_it_has_no_dropout_and_learns_nothing():
    opponent = Opponent(seeded(lambda: PairDiscriminator(SIZE, 32, 0.5)), AdversarySettings())
    images = torch.ones(2, SIZE, requires_grad=True)
    with opponent.fixed() as discriminator:
        one, other = discriminator(images, images), discriminator(images, images)
    assert torch.equal(one.scores, other.scores)
    one.scores.sum().backward()
    assert images.grad is not None
    assert all(each.grad is None and each.requires_grad for each in opponent.discriminator.parameters())
