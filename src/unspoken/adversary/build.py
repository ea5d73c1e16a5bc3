"""Recipe -> adversary: who judges, what is seen, how the judgement reaches the model."""

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from unspoken.adversary import chance
from unspoken.adversary.adversary import Adversary, GradientAdversary, Prompts, RewardAdversary, Writer
from unspoken.adversary.discriminators import CaptionDiscriminator, PairDiscriminator
from unspoken.adversary.guesses import GuessedVectors, StraightThroughWords
from unspoken.adversary.material import Material
from unspoken.adversary.opponent import Opponent
from unspoken.adversary.rewards import Compare, DiscriminatorJudge, MarginJudge
from unspoken.adversary.views import VectorView, WordView
from unspoken.adversary.writing import Writing
from unspoken.config import AdversarySettings
from unspoken.device import best_device
from unspoken.model import LatentForCausalLM
from unspoken.recipe import Recipe
from unspoken.seeing import space_of


def build_adversary(
    recipe: Recipe,
    model: LatentForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    material: Material,
    prompts: Prompts,
    compare: Compare,
) -> Adversary:
    """The adversary of a recipe, its discriminator new.

    Args:
        recipe: It has an `adversary` section.
        model: What is trained.
        tokenizer: Its own.
        material: The training rows.
        prompts: What the model reads of them.
        compare: Makes advantages of rewards, see `unspoken.training.advantages`.
    """
    settings, heads, device = recipe.adversary, recipe.model.embedding_heads, best_device()
    assert settings is not None, "recipes without an adversary have none"
    assert heads is not None, "recipes without a joint space are refused"
    writing = Writing(tokenizer, recipe.task.text)
    most = recipe.evaluate.max_new_tokens or recipe.task.max_new_tokens
    writer = Writer(model, writing, settings, recipe.train.seed, most, recipe.evaluate.batch_size)
    size, vocabulary, words = material.images.size(1), model.config.vocab_size, WordView(writing, device)
    captions = material.captions
    if settings.judge == "clip_margin":
        vectors = VectorView(space_of(heads).clip, writing, device)
        judge = MarginJudge(vectors, material.images.to(device), material.alike)
        return RewardAdversary(writer, None, words, judge, compare)
    discriminator = new_discriminator(settings, size, vocabulary, recipe.train.seed).to(device)
    opponent = Opponent(discriminator, settings)
    if settings.signal == "policy_gradient":
        return RewardAdversary(writer, opponent, words, DiscriminatorJudge(discriminator, words), compare)
    if settings.signal == "straight_through":
        return GradientAdversary(writer, opponent, words, StraightThroughWords(settings.temperature), captions, prompts)
    vectors = VectorView(space_of(heads).clip, writing, device)
    return GradientAdversary(writer, opponent, vectors, GuessedVectors(), captions, prompts)


def new_discriminator(settings: AdversarySettings, size: int, vocabulary: int, seed: int) -> nn.Module:
    """A discriminator with new weights.

    Args:
        settings: Of the adversary.
        size: Width of the joint space.
        vocabulary: Tokens there are.
        seed: Of the weights.
    """
    with chance.apart(seed, 0, "discriminator", torch.device("cpu")):
        if settings.signal == "embedding":
            return PairDiscriminator(size, settings.width, settings.dropout)
        return CaptionDiscriminator(vocabulary, size, settings.width, settings.dropout)
