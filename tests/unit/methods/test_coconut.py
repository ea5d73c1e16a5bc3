"""The released behaviour of Coconut, rule by rule, and where ours is a setting."""

from itertools import product
from random import Random

import numpy as np
import pytest
from tests.conftest import TOKENS
from tests.unit.data.build import random_tokenized, tokenized

from unspoken.data.stage import question_tokens
from unspoken.methods.coconut import Coconut
from unspoken.records import IGNORED

LATENT, START, END = TOKENS.latent, TOKENS.start, TOKENS.end
ROW = tokenized(questions=[[1, 2]], steps=[[10, 11], [12], [13]], answer=[30, 31, 0])


def laid_out(method, stage, row=ROW, seed=0):
    staged = method.layout(row, stage, TOKENS, Random(seed))
    return staged.input_ids.tolist(), staged.labels.tolist()


def ignored(count):
    return [IGNORED] * count


# ---- the stage of an epoch


def test_a_stage_lasts_epochs_per_stage_and_one_stage_follows_the_largest():
    method = Coconut(epochs_per_stage=3, max_stage=3)
    assert [method.stage(epoch) for epoch in range(16)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4]
    assert method.final_stage == 4


def test_the_released_gsm8k_curriculum():
    """c_thought 2, epochs_per_stage 3, max_latent_stage 3: from epoch 12 on six thoughts and no steps."""
    method = Coconut(thoughts_per_step=2, epochs_per_stage=3, max_stage=3)
    row = tokenized(steps=[[10], [11], [12], [13], [14]])
    seen = []
    for epoch in range(25):
        staged = method.layout(row, method.stage(epoch), TOKENS, Random(0))
        left = sum(token in range(10, 15) for token in staged.input_ids)
        seen.append((staged.num_thoughts, left))
    assert seen == [(0, 5)] * 3 + [(2, 4)] * 3 + [(4, 3)] * 3 + [(6, 2)] * 3 + [(6, 0)] * 13


def test_the_defaults_are_those_of_the_released_prosqa_run():
    method = Coconut()
    assert (method.thoughts_per_step, method.epochs_per_stage, method.max_stage) == (1, 5, 6)
    assert (method.pad_thoughts, method.mix, method.markers, method.released_counts) == (True, 0.0, True, False)


def test_a_list_gives_each_stage_its_own_epochs():
    method = Coconut(epochs_per_stage=(2, 1, 3), max_stage=5)
    assert [method.stage(epoch) for epoch in range(9)] == [0, 0, 1, 2, 2, 2, 2, 2, 2]


def test_without_a_curriculum_training_begins_with_the_final_stage():
    method = Coconut(epochs_per_stage=0, max_stage=3)
    assert method.stage(0) == method.final_stage == 4
    assert laid_out(method, method.stage(0))[0] == [1, 2, START, LATENT, LATENT, LATENT, END, 30, 31, 0]


# ---- the layout at a stage


def test_stage_0_is_the_chain_of_thought_with_empty_markers():
    input_ids, labels = laid_out(Coconut(), 0)
    assert input_ids == [1, 2, START, END, 10, 11, 12, 13, 30, 31, 0]
    assert labels == [*ignored(4), 10, 11, 12, 13, 30, 31, 0]


def test_at_stage_s_the_first_s_steps_are_gone_and_s_thoughts_stand_in_their_place():
    assert laid_out(Coconut(), 1)[0] == [1, 2, START, LATENT, END, 12, 13, 30, 31, 0]
    assert laid_out(Coconut(), 2)[0] == [1, 2, START, LATENT, LATENT, END, 13, 30, 31, 0]
    assert laid_out(Coconut(), 3)[0] == [1, 2, START, LATENT, LATENT, LATENT, END, 30, 31, 0]


def test_question_markers_and_thoughts_are_not_trained_and_every_word_after_them_is():
    assert laid_out(Coconut(), 1)[1] == [*ignored(5), 12, 13, 30, 31, 0]
    assert laid_out(Coconut(), 3)[1] == [*ignored(7), 30, 31, 0]


def test_a_step_is_worth_thoughts_per_step_thoughts():
    assert laid_out(Coconut(thoughts_per_step=3), 1)[0] == [1, 2, START, LATENT, LATENT, LATENT, END, 12, 13, 30, 31, 0]


def test_after_the_largest_stage_all_steps_are_dropped_and_no_thought_is_added():
    method = Coconut(max_stage=1)
    assert laid_out(method, 1)[0] == [1, 2, START, LATENT, END, 12, 13, 30, 31, 0]
    assert laid_out(method, 2)[0] == [1, 2, START, LATENT, END, 30, 31, 0]
    assert laid_out(method, 9)[0] == [1, 2, START, LATENT, END, 30, 31, 0]


def test_padded_rows_with_few_steps_get_as_many_thoughts_as_the_stage_has():
    method = Coconut(max_stage=5)
    assert laid_out(method, 5)[0] == [1, 2, START, *[LATENT] * 5, END, 30, 31, 0]
    assert laid_out(method, 6)[0] == [1, 2, START, *[LATENT] * 5, END, 30, 31, 0]


def test_unpadded_rows_with_few_steps_get_a_thought_for_each_step():
    method = Coconut(max_stage=5, pad_thoughts=False, thoughts_per_step=2)
    for stage in (4, 5, 6):
        assert laid_out(method, stage)[0] == [1, 2, START, *[LATENT] * 6, END, 30, 31, 0]
    assert laid_out(method, 2)[0] == [1, 2, START, *[LATENT] * 4, END, 13, 30, 31, 0]


def test_without_markers_the_thoughts_stand_alone():
    assert laid_out(Coconut(markers=False), 1)[0] == [1, 2, LATENT, 12, 13, 30, 31, 0]
    assert laid_out(Coconut(markers=False), 0)[0] == [1, 2, 10, 11, 12, 13, 30, 31, 0]


def test_without_thoughts_steps_are_dropped_on_the_same_schedule():
    """The paper's ablation, which the release calls no_thoughts: it has neither slots nor markers."""
    method = Coconut(thoughts_per_step=0, markers=False)
    for stage in range(4):
        kept = [token for step in ROW.steps[stage:] for token in step.tolist()]
        assert laid_out(method, stage) == ([1, 2, *kept, 30, 31, 0], [*ignored(2), *kept, 30, 31, 0])
    assert method.prompt(ROW, 3, TOKENS).input_ids.tolist() == [1, 2]


# ---- the whole rule, against the release's own words


def released_layout(row, scheduled, method):
    """What facebookresearch/coconut trains on, as its data set is specified (systems.md P.3), without chance."""
    padded, steps, most = method.pad_thoughts, len(row.steps), method.max_stage
    if scheduled > most:
        dropped, thoughts = 10_000, most if padded else min(steps, most)
    else:
        dropped, thoughts = scheduled, scheduled
    thoughts *= method.thoughts_per_step
    question = question_tokens(row).tolist()
    slots = [LATENT] * thoughts
    slots = [START, *slots, END] if method.markers else slots
    words = [token for step in row.steps[dropped:] for token in step.tolist()] + row.answer.tolist()
    return question + slots + words, ignored(len(question) + len(slots)) + words


def released_prompt_thoughts(row, scheduled, method):
    most = method.max_stage if method.pad_thoughts else min(method.max_stage, len(row.steps))
    return min(most, scheduled) * method.thoughts_per_step


SETTINGS = [
    {"pad_thoughts": pad, "thoughts_per_step": per_step, "max_stage": most, "markers": markers}
    for pad, per_step, most, markers in product((True, False), (0, 1, 2), (0, 1, 3, 6), (True, False))
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_training_rows_are_those_of_the_release_at_every_stage(settings):
    method = Coconut(**settings, released_counts=True)
    rng = np.random.default_rng(0)
    for row in [random_tokenized(rng) for _ in range(20)]:
        for stage in range(method.final_stage + 2):
            assert laid_out(method, stage, row) == released_layout(row, stage, method)
            prompt = method.prompt(row, stage, TOKENS)
            assert prompt.num_thoughts == released_prompt_thoughts(row, stage, method)


def test_released_counts_give_training_the_old_number_and_prompts_the_new_one():
    old, new = (Coconut(max_stage=6, pad_thoughts=False, released_counts=released) for released in (True, False))
    assert old.layout(ROW, 5, TOKENS, Random(0)).num_thoughts == 5  # two more than there are steps
    assert new.layout(ROW, 5, TOKENS, Random(0)).num_thoughts == 3
    assert old.prompt(ROW, 5, TOKENS).num_thoughts == new.prompt(ROW, 5, TOKENS).num_thoughts == 3
    assert old.layout(ROW, 7, TOKENS, Random(0)).num_thoughts == 3  # the last stage never did so


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_a_prompt_has_the_thoughts_that_its_row_was_trained_with(settings):
    method = Coconut(**settings)
    rng = np.random.default_rng(1)
    for row in [random_tokenized(rng) for _ in range(20)]:
        for stage in range(method.final_stage + 2):
            trained, asked = method.layout(row, stage, TOKENS, Random(0)), method.prompt(row, stage, TOKENS)
            assert asked.num_thoughts == trained.num_thoughts
            assert asked.first_thought == trained.first_thought
            assert asked.input_ids.tolist() == trained.input_ids[: len(asked.input_ids)].tolist()
            assert set(trained.labels[: len(asked.input_ids)]) <= {IGNORED}
            assert trained.num_thoughts == (trained.input_ids == LATENT).sum()
            if trained.num_thoughts:
                assert set(trained.input_ids[trained.first_thought :][: trained.num_thoughts]) == {LATENT}


def test_a_prompt_gets_as_many_thoughts_as_are_asked_for():
    method = Coconut(max_stage=2)
    for count in (0, 1, 9):
        prompt = method.prompt(ROW, 1, TOKENS, num_thoughts=count)
        assert prompt.input_ids.tolist() == [1, 2, START, *[LATENT] * count, END]
        assert prompt.num_thoughts == count


@pytest.mark.parametrize("mix", [0.0, 0.4])
@pytest.mark.parametrize("settings", SETTINGS[::5], ids=lambda settings: "-".join(map(str, settings.values())))
def test_no_row_has_more_thoughts_than_the_method_promises_and_a_long_row_has_as_many(settings, mix):
    method = Coconut(**settings, mix=mix)
    rng = np.random.default_rng(2)
    rows = [random_tokenized(rng) for _ in range(20)] + [random_tokenized(rng, num_steps=8)]
    for stage in range(method.final_stage + 1):
        counts = [
            each.num_thoughts
            for row in rows
            for seed in range(10)
            for each in (method.layout(row, stage, TOKENS, Random(seed)), method.prompt(row, stage, TOKENS))
        ]
        assert max(counts) == method.most_thoughts(stage)


# ---- chance


def stages_drawn(method, stage, row, draws):
    """How often each stage was laid out: the number of dropped steps says which."""
    counts = [0] * (len(row.steps) + 1)
    rng = Random(0)
    for _ in range(draws):
        words = method.layout(row, stage, TOKENS, rng).labels
        counts[len(row.steps) - sum(token in range(10, 20) for token in words)] += 1
    return counts


def chi_square(counts, expected):
    return sum((count - wanted) ** 2 / wanted for count, wanted in zip(counts, expected, strict=True))


FIVE = tokenized(steps=[[10], [11], [12], [13], [14]])


@pytest.mark.parametrize("stage", [0, 3, 6])
def test_mix_draws_a_stage_uniformly_from_0_to_the_number_of_steps(stage):
    counts = stages_drawn(Coconut(mix=1.0, max_stage=6), stage, FIVE, 6000)
    assert chi_square(counts, [1000] * 6) < 20.5  # 99.9% of chi-square with 5 degrees of freedom


def test_mix_is_the_probability_of_drawing_and_the_other_rows_stay_at_their_stage():
    counts = stages_drawn(Coconut(mix=0.3, max_stage=6), 2, FIVE, 6000)
    assert chi_square(counts, [300, 300, 300 + 4200, 300, 300, 300]) < 20.5


def test_a_drawn_stage_beyond_the_largest_drops_all_steps():
    counts = stages_drawn(Coconut(mix=1.0, max_stage=2), 0, FIVE, 6000)
    assert chi_square([sum(counts[3:]), *counts[:3]], [3000, 1000, 1000, 1000]) < 16.3  # 3 degrees of freedom
    assert counts[3:5] == [0, 0]


def test_a_drawn_stage_has_its_own_number_of_thoughts():
    method, rng = Coconut(mix=1.0, max_stage=6, thoughts_per_step=2), Random(0)
    for _ in range(200):
        staged = method.layout(FIVE, 0, TOKENS, rng)
        dropped = 5 - sum(token in range(10, 15) for token in staged.labels)
        assert staged.num_thoughts == 2 * dropped


def test_without_mix_and_redraw_nothing_is_left_to_chance():
    row = tokenized(premises=[[4], [5], [6]], questions=[[1], [2]])
    layouts = {tuple(laid_out(Coconut(), 1, row, seed)[0]) for seed in range(20)}
    assert layouts == {(4, 5, 6, 1, START, LATENT, END, 12, 13, 14, 15, 30, 31, 0)}


def test_redraw_shuffles_premises_and_wordings_of_training_rows_but_never_of_prompts():
    row = tokenized(premises=[[4], [5], [6]], questions=[[1], [2]])
    method = Coconut(redraw=True)
    questions = {tuple(laid_out(method, 1, row, seed)[0][:4]) for seed in range(300)}
    assert len(questions) == 12
    assert {tuple(question[:3]) for question in questions} == {
        (4, 5, 6), (4, 6, 5), (5, 4, 6), (5, 6, 4), (6, 4, 5), (6, 5, 4),
    }  # fmt: skip
    assert method.prompt(row, 1, TOKENS).input_ids.tolist() == [4, 5, 6, 1, START, LATENT, END]


def test_a_row_without_steps_is_laid_out_at_every_stage():
    row = tokenized(steps=[])
    assert laid_out(Coconut(), 2, row)[0] == [1, 2, 3, START, LATENT, LATENT, END, 30, 31, 0]
    assert laid_out(Coconut(pad_thoughts=False), 2, row)[0] == [1, 2, 3, START, END, 30, 31, 0]
    assert laid_out(Coconut(mix=1.0), 2, row)[0] == [1, 2, 3, START, END, 30, 31, 0]


def test_the_beginning_of_sequence_token_comes_first():
    assert laid_out(Coconut(), 1, tokenized(start=[36], premises=[[4]]))[0][:3] == [36, 4, 1]


def test_a_layout_leaves_its_row_unchanged():
    method = Coconut(redraw=True, mix=0.5)
    row = tokenized(premises=[[4], [5]])
    staged = method.layout(row, 1, TOKENS, Random(0))
    staged.input_ids[:] = 0
    staged.labels[:] = 0
    assert [piece.tolist() for piece in (*row.premises, *row.questions, *row.steps, row.answer)] == [
        [4], [5], [1, 2, 3], [10, 11], [12], [13, 14, 15], [30, 31, 0],
    ]  # fmt: skip
