"""Examples to predictions: each row answered as it would be alone, and scored on what was written."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.unit.data.build import tokenized

from unspoken.data.stage import stage
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens, word_tokenizer, words_of
from unspoken.errors import DataError
from unspoken.evaluation.controls import without_slots
from unspoken.evaluation.predict import answers, predict
from unspoken.methods.coconut import Coconut
from unspoken.methods.superposition import Superposition
from unspoken.model import LatentConfig, LatentForCausalLM
from unspoken.model.scratch import new_decoder
from unspoken.records import Example
from unspoken.tasks.custom import Custom
from unspoken.tasks.hops import Hops
from unspoken.thoughts import ThoughtSource

TASK = Hops(symbols=6, hops=3, train_rows=1, validation_rows=17, test_rows=1)
NEW_TOKENS = 12


def model_for(tokenizer, *, seed=0, positions=64, schedule=None, source=None):
    """Random weights that are large enough for answers of many lengths."""
    tokens = thought_tokens(tokenizer)
    decoder = new_decoder(
        "gpt2", layers=2, heads=2, width=16, vocab_size=len(tokenizer), max_positions=positions,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, seed=seed,
    )  # fmt: skip
    config = LatentConfig(
        text_config=decoder.config,
        latent_token_id=tokens.latent,
        start_latent_token_id=tokens.start,
        end_latent_token_id=tokens.end,
        schedule=schedule,
        thought_source=source,
    )
    model = LatentForCausalLM.from_decoder(decoder, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.4, generator=generator)
    return model.eval()


class Setup:
    def __init__(self, method=None, stage_=2, **kwargs):
        self.examples = TASK.examples("validation")[0]
        self.tokenizer = word_tokenizer(TASK.words())
        self.model = model_for(self.tokenizer, **kwargs)
        method = method or Coconut(pad_thoughts=False, mix=0.0)
        tokens = thought_tokens(self.tokenizer)
        rows = tokenize(self.examples, TASK.text, self.tokenizer)
        # a different number of thoughts for neighbours
        self.prompts = [method.prompt(row, stage_, tokens, num_thoughts=i % 4) for i, row in enumerate(rows)]

    def predict(self, order=None, **kwargs):
        order = range(len(self.examples)) if order is None else order
        examples, prompts = [self.examples[i] for i in order], [self.prompts[i] for i in order]
        arguments = {"max_new_tokens": NEW_TOKENS, **kwargs}
        return predict(self.model, self.tokenizer, TASK, examples, prompts, **arguments)


@pytest.fixture(scope="module")
def setup():
    return Setup(seed=1)  # its answers have 1, 2, 11 and 12 tokens; 12 are the limit


@torch.no_grad()
def greedy_by_definition(model, prompt, limit):
    """Each token from a full run over everything before it: no cache, no batch."""
    ids = torch.tensor(prompt.input_ids, dtype=torch.long)[None]
    written = []
    while len(written) < limit and written[-1:] != [model.config.eos_token_id]:
        logits = model(input_ids=ids, logits_to_keep=1).logits[0, -1]
        logits[model.generation_config.suppress_tokens] = -torch.inf
        written.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor([[written[-1]]])], dim=1)
    return written


def test_every_row_is_answered_as_it_would_be_alone_without_a_cache(setup):
    predictions = setup.predict()
    lengths = set()
    for prediction, example, prompt in zip(predictions, setup.examples, setup.prompts, strict=True):
        tokens = greedy_by_definition(setup.model, prompt, NEW_TOKENS)
        lengths.add(len(tokens))
        assert prediction.id == example.id
        assert prediction.question == " ".join([*example.premises, example.question])
        assert prediction.expected == example.answer
        assert prediction.text == setup.tokenizer.decode(tokens, skip_special_tokens=True)
        assert prediction.num_tokens == len(tokens)
        assert prediction.num_thoughts == prompt.num_thoughts
        assert prediction.num_passes == prompt.num_thoughts + len(tokens)
        score = TASK.score(example, prediction.text)
        assert (prediction.verdict, prediction.predicted) == (score.verdict, score.predicted)
    assert lengths == {1, 2, 11, 12}
    assert {prediction.verdict for prediction in predictions} == {"right", "wrong", "no answer"}


@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_the_batch_size_changes_nothing(setup, batch_size):
    assert setup.predict(batch_size=batch_size) == setup.predict()


def test_the_order_of_the_rows_changes_nothing_but_the_order_of_the_predictions(setup):
    order = np.random.default_rng(0).permutation(len(setup.examples)).tolist()
    shuffled, straight = setup.predict(order, batch_size=4), setup.predict(batch_size=4)
    assert shuffled == [straight[i] for i in order]


def test_tokens_are_counted_up_to_and_with_the_end_of_sequence(setup):
    found = dict(answers(setup.model, setup.prompts, 4, NEW_TOKENS))
    end = setup.tokenizer.eos_token_id
    ended = [tokens for tokens in found.values() if end in tokens]
    assert sorted(found) == list(range(len(setup.prompts)))
    assert ended
    for tokens in ended:
        assert tokens.index(end) == len(tokens) - 1
    assert all(len(tokens) == NEW_TOKENS for tokens in found.values() if end not in tokens)


def test_passes_are_counted_by_the_schedule():
    rows = {}
    for name, kwargs in {
        "sequential": {},
        "jacobi": {"schedule": {"name": "jacobi", "iterations": 2}},
        "single": {"schedule": {"name": "single"}, "source": {"name": "pause"}},
    }.items():
        rows[name] = [(row.num_thoughts, row.num_passes - row.num_tokens) for row in Setup(**kwargs).predict()]
    assert set(rows["sequential"]) == {(0, 0), (1, 1), (2, 2), (3, 3)}
    assert set(rows["jacobi"]) == {(0, 0), (1, 1), (2, 3), (3, 3)}
    assert set(rows["single"]) == {(0, 0), (1, 0), (2, 0), (3, 0)}


# ---- what is scored


def scripted(tokenizer, script, question_words):
    """A model that writes `script` after any question: each token is determined by its position alone."""
    model = model_for(tokenizer)
    decoder = model.model.language_model
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        decoder.ln_f.weight.fill_(1.0)
        width = decoder.wpe.weight.size(1)
        assert len(tokenizer) <= width
        model.lm_head = torch.nn.Linear(width, len(tokenizer), bias=False)
        model.lm_head.weight.copy_(torch.eye(width)[: len(tokenizer)])
        for offset, token in enumerate(script):
            decoder.wpe.weight[question_words - 1 + offset, token] = 1.0
    return model


def test_an_answer_that_stands_only_in_the_question_is_no_answer():
    task = Custom()
    example = Example("1", "a ### c", (), "c")
    tokenizer = word_tokenizer(words_of([example, Example("2", "a b", (), "c")], task.text))
    (row,) = tokenize([example], task.text, tokenizer)
    prompt = Coconut().prompt(row, 0, thought_tokens(tokenizer), num_thoughts=0)
    ids = tokenizer.convert_tokens_to_ids
    for words, verdict, predicted in [
        (["b", "<|endoftext|>"], "no answer", None),
        (["###", "c", "<|endoftext|>"], "right", "c"),
        (["###", "a", "<|endoftext|>"], "wrong", "a"),
        (["###", "<|endoftext|>"], "no answer", None),
    ]:
        model = scripted(tokenizer, ids(words), len(prompt.input_ids))
        (prediction,) = predict(model, tokenizer, task, [example], [prompt])
        assert (prediction.verdict, prediction.predicted) == (verdict, predicted)
        assert prediction.text == " ".join(words[:-1])
        assert prediction.num_tokens == len(words)


def test_forced_tokens_are_part_of_the_text_and_are_not_counted():
    task = Custom()
    example = Example("1", "a b", (), "c")
    tokenizer = word_tokenizer(words_of([example], task.text))
    (row,) = tokenize([example], task.text, tokenizer)
    prompt = Superposition().prompt(row, 0, thought_tokens(tokenizer))
    assert tokenizer.decode(prompt.input_ids[-prompt.num_forced :]) == "###"
    model = scripted(tokenizer, tokenizer.convert_tokens_to_ids(["c", "<|endoftext|>"]), len(prompt.input_ids))
    (prediction,) = predict(model, tokenizer, task, [example], [prompt])
    assert (prediction.text, prediction.num_tokens, prediction.verdict) == ("### c", 2, "right")


def test_no_more_tokens_are_written_than_asked_for(setup):
    assert max(row.num_tokens for row in setup.predict(max_new_tokens=3)) == 3


def test_the_task_says_how_long_an_answer_may_be_by_default(setup):
    short = TASK.model_copy()
    predictions = predict(setup.model, setup.tokenizer, short, setup.examples[:4], setup.prompts[:4])
    assert max(row.num_tokens for row in predictions) <= TASK.max_new_tokens


def test_a_model_that_fills_its_positions_has_no_more_to_say():
    """Prompts have 16 to 21 tokens with their thoughts; 24 positions leave at least 3."""
    tight = Setup(positions=24)
    predictions = tight.predict(max_new_tokens=100, batch_size=1)
    for prediction, prompt in zip(predictions, tight.prompts, strict=True):
        assert 1 <= prediction.num_tokens <= 24 - len(prompt.input_ids)


# ---- the model afterwards


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("control", ["none", "zero", "removed", "mean"])
def test_the_model_and_its_mode_are_left_as_they_were(setup, training, control):
    model = setup.model
    source, schedule = model.model.thought_source, model.model.schedule
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = torch.get_rng_state()
    model.train(training)
    try:
        setup.predict(control=control)
        assert [module.training for module in model.modules()] == [training] * len(list(model.modules()))
        assert (model.model.thought_source, model.model.schedule) == (source, schedule)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        model.eval()


@pytest.mark.parametrize("wrong", [{"control": "unknown"}, {"progress": lambda rows: 1 / 0}])
def test_after_an_error_the_model_trains_on(setup, wrong):
    setup.model.train()
    try:
        with pytest.raises((ValueError, ZeroDivisionError)):
            setup.predict(**wrong)
        assert setup.model.training
        assert setup.predict() == setup.predict(control="none")
    finally:
        setup.model.eval()


def test_dropout_is_off_while_answering(setup):
    expected = setup.predict()
    for module in setup.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    setup.model.train()
    try:
        assert setup.predict() == expected
    finally:
        setup.model.eval()


# ---- controls


def test_removed_thoughts_are_not_counted_and_the_answers_are_those_to_the_bare_prompts(setup):
    latent = thought_tokens(setup.tokenizer).latent
    predictions = setup.predict(control="removed")
    for prediction, prompt in zip(predictions, setup.prompts, strict=True):
        tokens = greedy_by_definition(setup.model, without_slots(prompt, latent), NEW_TOKENS)
        assert prediction.num_thoughts == 0
        assert (prediction.num_tokens, prediction.num_passes) == (len(tokens), len(tokens))
        assert prediction.text == setup.tokenizer.decode(tokens, skip_special_tokens=True)


def test_zero_thoughts_change_answers_only_where_there_are_thoughts(setup):
    trained, zero = setup.predict(), setup.predict(control="zero")
    differ = {row.num_thoughts for row, other in zip(trained, zero, strict=True) if row != other}
    assert differ
    assert 0 not in differ


@pytest.mark.parametrize("control", ["zero", "mean", "removed", "noise", "another_row"])
def test_the_batch_size_changes_nothing_under_a_control_either(setup, control):
    assert setup.predict(control=control, batch_size=3) == setup.predict(control=control, batch_size=64)


def test_a_prediction_names_the_image_that_its_answer_describes(setup):
    rows = [replace(setup.examples[0], next_image="next.png"), setup.examples[1]]
    task = Custom(images="pictures")
    found = predict(setup.model, setup.tokenizer, task, rows, setup.prompts[:2], max_new_tokens=1)
    assert [row.next_image for row in found] == ["pictures/next.png", None]


# ---- exchanged thoughts


class Named(ThoughtSource):
    """A thought is (how many real columns its row has, its number); what would fill padding is not a number."""

    reads_states = False

    def forward(self, history):
        is_slot = history.is_thought[:, list(history.columns)]
        real = history.is_real.sum(dim=1, keepdim=True).expand(is_slot.shape)
        named = torch.full_like(history.placeholders, torch.nan)
        named[is_slot] = 0.0
        named[..., 0], named[..., 1] = real.where(is_slot, torch.nan), history.ranks().where(is_slot, torch.nan)
        return named


def exchanged(setup, counts, batch_size=64):
    """For each row the number of real columns of the one whose thoughts it thinks, and which of them these are.

    Rows have 10, 17, 24 ... real columns beside their thoughts.
    """
    tokens, found = thought_tokens(setup.tokenizer), {}
    prompts = [
        stage(tokenized("x"), np.full(8 + 7 * place, 7, dtype=np.int32), count, [], tokens, markers=True)
        for place, count in enumerate(counts)
    ]

    def keep(module, arguments, inputs, output):
        if output.thoughts is None:
            return
        mask = inputs.get("attention_mask")
        reals = (torch.ones_like(inputs["input_ids"]) if mask is None else mask).sum(dim=1).tolist()
        for real, thoughts, mask in zip(reals, output.thoughts, output.thought_mask, strict=True):
            found[real] = thoughts[mask][:, :2].tolist()

    model, rows = setup.model, setup.examples[: len(counts)]
    handle = model.model.register_forward_hook(keep, with_kwargs=True)
    try:
        with model.model.thinking_with(Named()):
            predict(
                model,
                setup.tokenizer,
                TASK,
                rows,
                prompts,
                batch_size=batch_size,
                max_new_tokens=1,
                control="another_row",
            )
    finally:
        handle.remove()
    return [found.get(10 + 7 * place + count, []) for place, count in enumerate(counts)]


@pytest.mark.parametrize("batch_size", [2, 3, 64])
@pytest.mark.parametrize("counts", [[2] * 5, [1, 3, 2, 3, 1, 2], [0, 2, 3, 0, 3, 2, 3], [1, 2, 2, 2, 2, 1, 2]], ids=str)
def test_a_row_thinks_all_thoughts_of_another_one_that_thinks_as_often(setup, counts, batch_size):
    for place, (count, thoughts) in enumerate(zip(counts, exchanged(setup, counts, batch_size), strict=True)):
        others = {10 + 7 * other + count for other, number in enumerate(counts) if number == count and other != place}
        assert [number for _, number in thoughts] == list(range(count))
        donors = {donor for donor, _ in thoughts}
        assert len(donors) == bool(count)
        assert donors <= others


def test_a_row_that_is_alone_with_its_number_gets_a_partner_that_thinks_as_often_for_it(setup):
    """The third has a partner without one of its thoughts, the fourth one with two more slots."""
    assert exchanged(setup, [3, 3, 2, 5]) == [
        [[20, number] for number in range(3)],
        [[13, number] for number in range(3)],
        [[19, number] for number in range(2)],
        [[22, number] for number in range(5)],
    ]


def test_a_row_that_thinks_alone_exchanges_with_nobody(setup):
    with pytest.raises(DataError, match="only x has any; leave it out"):
        exchanged(setup, [0, 2, 0])


# ---- the rest


def test_progress_is_told_row_by_row(setup):
    told = []
    setup.predict(progress=told.append)
    assert told == [1] * len(setup.examples)


def test_no_rows_have_no_predictions(setup):
    assert setup.predict([]) == []


def test_announced_processes_that_are_not_connected_answer_every_row(setup, monkeypatch):
    """Under torchrun the variables are set before anything is connected: half of the rows would be lost."""
    expected = setup.predict()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert setup.predict() == expected


def test_prompts_of_very_different_lengths_share_a_batch(setup):
    tokens, row = thought_tokens(setup.tokenizer), tokenized("x")
    prompts = [
        stage(row, prompt.input_ids[: 1 + 2 * index % 13], index % 3, [], tokens, markers=True)
        for index, prompt in enumerate(setup.prompts)
    ]
    for index, written in answers(setup.model, prompts, 5, 6):
        assert written == greedy_by_definition(setup.model, prompts[index], 6)


# ---- choices


class Choosing(Setup):
    """The same rows, each with three nodes to choose from."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        offered = [("a", "b", example.answer) for example in self.examples]
        self.examples = [replace(example, choices=each) for example, each in zip(self.examples, offered, strict=True)]
        self.choices = [row.choices for row in tokenize(self.examples, TASK.text, self.tokenizer)]

    def predict(self, order=None, **kwargs):
        order = range(len(self.examples)) if order is None else order
        return super().predict(order, choices=[self.choices[i] for i in order], **kwargs)


@pytest.fixture(scope="module")
def choosing():
    return Choosing(seed=1)


@torch.no_grad()
def log_likelihood(model, prompt, choice):
    """By definition: one run over prompt and choice."""
    ids = torch.tensor(np.concatenate([prompt.input_ids, choice]), dtype=torch.long)[None]
    values = model(input_ids=ids).logits[0, :-1].double().log_softmax(dim=-1)
    return float(values[-len(choice) :].gather(1, torch.tensor(choice).long()[:, None]).sum())


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_likeliest_choice_is_that_of_the_definition(choosing, setup, batch_size):
    found, plain = choosing.predict(batch_size=batch_size), setup.predict(batch_size=batch_size)
    likeliest = []
    for row, example, prompt, choices in zip(found, choosing.examples, choosing.prompts, choosing.choices, strict=True):
        expected = [log_likelihood(choosing.model, prompt, choice) for choice in choices]
        assert row.log_likelihoods == pytest.approx(expected, abs=1e-4)
        assert row.likeliest == example.choices[int(np.argmax(expected))]
        likeliest.append(example.choices.index(row.likeliest))
    assert len(set(likeliest)) > 1
    assert [replace(row, log_likelihoods=None, likeliest=None) for row in found] == plain


@pytest.mark.parametrize("control", ["zero", "mean", "removed", "noise", "another_row"])
def test_choices_are_weighed_under_the_control(choosing, control):
    trained, changed = choosing.predict(), choosing.predict(control=control)
    thinking = [prompt.num_thoughts > 0 for prompt in choosing.prompts]
    for before, after, thinks in zip(trained, changed, thinking, strict=True):
        same = after.log_likelihoods == pytest.approx(before.log_likelihoods, abs=1e-4)
        assert same != thinks, f"{control} takes thoughts away, and only thoughts"
    assert choosing.predict(control=control) == changed


def test_an_answer_start_that_is_given_is_not_counted():
    setup = Choosing(seed=1)
    start = np.array([7, 8], dtype=np.int32)
    for index, prompt in enumerate(setup.prompts):
        ids, labels = np.append(prompt.input_ids, start), np.append(prompt.labels, [-100, -100])
        setup.prompts[index] = replace(prompt, input_ids=ids, labels=labels, num_forced=2)
    setup.choices = [tuple(np.append(start, choice[1:]) for choice in choices) for choices in setup.choices]
    for row, prompt, choices in zip(setup.predict(), setup.prompts, setup.choices, strict=True):
        expected = [log_likelihood(setup.model, prompt, choice[2:]) for choice in choices]
        assert row.log_likelihoods == pytest.approx(expected, abs=1e-4)
