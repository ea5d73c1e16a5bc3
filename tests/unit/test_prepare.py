"""From a recipe to a model with embeddings for every token, and to rows that fit it."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens, word_tokenizer
from unspoken.errors import CheckpointError, DataError, RecipeError
from unspoken.model import LatentForCausalLM
from unspoken.prepare import (
    build_model,
    build_tokenizer,
    fingerprint,
    load_model,
    longest,
    read_examples,
    tokenize_rows,
)
from unspoken.recipe import resolve
from unspoken.records import Example, Graph, Ledger

WORDS = ["<|end|>", "<<", ">>", "is", "it", "?", "###", "yes"]
HOPS = {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 5, "validation_rows": 2, "test_rows": 2}


def recipe(**sections):
    return resolve({"task": HOPS, "method": {"name": "coconut", "max_stage": 2}, **sections}, "test")


def pretrained(folder, *, tied, words=WORDS, unknown=None, arch="llama", rows=None):
    """A causal language model with a word-level tokenizer in a folder; `rows` embeddings, default one a word."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", unk_token=unknown).save_pretrained(folder)
    config = AutoConfig.for_model(
        arch, vocab_size=rows or len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, tie_word_embeddings=tied, eos_token_id=0, bos_token_id=0, max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder)


def built(folder, **settings):
    """The latent model of a pretrained one, and its tokenizer."""
    chosen = recipe(model={"path": str(folder), **settings})
    tokenizer = build_tokenizer(chosen, [])
    return build_model(chosen, tokenizer), tokenizer


def tables(model):
    return {"input": model.get_input_embeddings().weight, "output": model.get_output_embeddings().weight}


# ---- embeddings of the thought tokens


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("marker", ["<<", "yes"])
def test_new_tokens_start_as_a_copy_of_the_named_one_in_both_tables(tied, marker, tmp_path, caplog):
    before = tables(pretrained(tmp_path, tied=tied))
    model, tokenizer = built(tmp_path, marker_init=marker)
    assert len(tokenizer) == len(WORDS) + 3
    for name, table in tables(model).items():
        assert table.shape == (len(WORDS) + 3, 8)
        assert torch.equal(table[: len(WORDS)], before[name])
        for token in thought_tokens(tokenizer).latent, thought_tokens(tokenizer).start, thought_tokens(tokenizer).end:
            assert torch.equal(table[token], before[name][WORDS.index(marker)])
    assert (tables(model)["input"] is tables(model)["output"]) == tied
    assert torch.equal(before["input"], before["output"]) == tied
    assert not caplog.records


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_start_as_the_mean_of_all(tied, tmp_path, caplog):
    before = tables(pretrained(tmp_path, tied=tied))
    model, _ = built(tmp_path, marker_init="mean")
    for name, table in tables(model).items():
        for row in table[len(WORDS) :]:
            torch.testing.assert_close(row, before[name].mean(dim=0))
    assert not caplog.records


@pytest.mark.parametrize("unknown", [None, "yes", "<|end|>"])
def test_a_marker_that_is_no_token_is_told_and_the_mean_taken(unknown, tmp_path, caplog):
    """Whatever the tokenizer makes of unknown words: GPT-2's unknown token is its end of text."""
    before = tables(pretrained(tmp_path, tied=True, unknown=unknown))
    with caplog.at_level(logging.WARNING, logger="unspoken"):
        model, _ = built(tmp_path, marker_init="colourless")
    for row in tables(model)["input"][len(WORDS) :]:
        torch.testing.assert_close(row, before["input"].mean(dim=0))
    assert [record.getMessage() for record in caplog.records] == [
        "'colourless' is no token of this tokenizer: new embeddings start as the mean of all"
    ]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("spare", [1, 2, 3, 9])
@pytest.mark.parametrize("marker", ["<<", "mean"])
def test_new_tokens_start_so_in_a_table_with_spare_rows_too(tied, spare, marker, tmp_path):
    """Tables are often longer than their vocabulary: Qwen's has 293 rows that stand for nothing."""
    rows = len(WORDS) + spare
    before = tables(pretrained(tmp_path, tied=tied, rows=rows))
    model, tokenizer = built(tmp_path, marker_init=marker)
    new = [thought_tokens(tokenizer).latent, thought_tokens(tokenizer).start, thought_tokens(tokenizer).end]
    assert sorted(new) == list(range(len(WORDS), len(WORDS) + 3))
    for name, table in tables(model).items():
        words = before[name][: len(WORDS)]
        assert torch.equal(table[: len(WORDS)], words)
        for token in new:
            torch.testing.assert_close(table[token], words.mean(dim=0) if marker == "mean" else words[1])
        assert torch.equal(table[len(WORDS) + 3 :], before[name][len(WORDS) + 3 :])


def test_a_run_with_spare_rows_keeps_its_thought_tokens_when_it_is_trained_on(tmp_path):
    pretrained(tmp_path / "base", tied=False, rows=20)
    earlier, tokenizer = built(tmp_path / "base")
    with torch.no_grad():
        earlier.get_input_embeddings().weight.normal_(generator=torch.Generator().manual_seed(1))
    earlier.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(tmp_path / "run")
    model, _ = built(tmp_path / "run")
    for name, table in tables(model).items():
        assert torch.equal(table, tables(earlier)[name])


@pytest.mark.parametrize("spare", [0, 9])
@pytest.mark.parametrize("learned", [True, False], ids=["coconut", "chain of thought"])
def test_a_released_checkpoint_keeps_the_thought_tokens_it_learned(spare, learned, tmp_path):
    base = pretrained(tmp_path, tied=True, arch="gpt2", rows=len(WORDS) + spare)
    if learned:
        base.resize_token_embeddings(len(WORDS) + 3)
    with torch.no_grad():
        base.get_input_embeddings().weight.normal_(generator=torch.Generator().manual_seed(1))
    torch.save(base.state_dict(), tmp_path / "checkpoint_9")
    model, tokenizer = built(tmp_path, weights=str(tmp_path / "checkpoint_9"))
    table, tokens = tables(model)["input"], thought_tokens(tokenizer)
    expected = base.get_input_embeddings().weight
    assert torch.equal(table[: len(WORDS)], expected[: len(WORDS)])
    for token in tokens.latent, tokens.start, tokens.end:
        assert torch.equal(table[token], expected[WORDS.index("<<")]) != learned


def test_the_new_rows_are_copies_and_not_the_same_memory(tmp_path):
    pretrained(tmp_path, tied=True)
    model, tokenizer = built(tmp_path)
    table = tables(model)["input"]
    with torch.no_grad():
        table[thought_tokens(tokenizer).latent] += 1.0
    assert not torch.equal(table[thought_tokens(tokenizer).latent], table[thought_tokens(tokenizer).start])


def test_the_weights_are_those_of_the_checkpoint_and_it_computes_the_same(tmp_path):
    original = pretrained(tmp_path, tied=False).eval()
    model, _ = built(tmp_path)
    ids = torch.tensor([[3, 4, 5, 1, 7]])
    with torch.no_grad():
        found = model.eval()(input_ids=ids).logits[..., : len(WORDS)]
        torch.testing.assert_close(found, original(input_ids=ids).logits)
    assert model.num_positions == 32


def test_gpt2_computes_the_same_with_its_activation_in_one_kernel(tmp_path):
    original = pretrained(tmp_path, tied=True, arch="gpt2").eval()
    model, _ = built(tmp_path)
    assert original.config.activation_function == "gelu_new"
    assert model.config.text_config.activation_function == "gelu_pytorch_tanh"
    ids = torch.tensor([[3, 4, 5, 1, 7]])
    with torch.no_grad():
        found = model.eval()(input_ids=ids).logits[..., : len(WORDS)]
        torch.testing.assert_close(found, original(input_ids=ids).logits, atol=1e-6, rtol=1e-5)


def test_a_run_of_ours_keeps_its_thought_tokens_when_it_is_trained_on(tmp_path):
    tokenizer = word_tokenizer([str(number) for number in range(34)])
    tokenizer.save_pretrained(tmp_path)
    earlier = tiny_model("llama", width=8)
    assert len(tokenizer) == earlier.config.vocab_size == 40
    earlier.save_pretrained(tmp_path)
    model, again = built(tmp_path)
    assert len(again) == 40
    assert torch.equal(tables(model)["input"], tables(earlier)["input"])
    assert torch.equal(tables(model)["output"], tables(earlier)["output"])


def test_a_source_of_the_same_kind_keeps_its_parameters_and_another_begins_anew(tmp_path):
    word_tokenizer([str(number) for number in range(34)]).save_pretrained(tmp_path)
    earlier = tiny_model("llama", width=8, source={"name": "window", "weights": "learned", "size": 3})
    with torch.no_grad():
        earlier.model.thought_source.logits.copy_(torch.tensor([1.0, 2.0, 3.0]))
    earlier.save_pretrained(tmp_path)

    def logits(**settings):
        chosen = recipe(model={"path": str(tmp_path)}, thoughts={"name": "window", "weights": "learned", **settings})
        return build_model(chosen, build_tokenizer(chosen, [])).model.thought_source.logits.tolist()

    assert logits(size=3) == [1.0, 2.0, 3.0]
    assert logits(size=3, scope="thoughts") == [1.0, 2.0, 3.0]
    assert logits(size=2) == [0.0, 0.0]


@pytest.mark.parametrize("arch", ["gpt2", "llama"])
def test_a_model_from_scratch_is_that_of_its_seed_whatever_was_drawn_before(arch):
    def weights(seed, drawn):
        torch.manual_seed(drawn)
        chosen = recipe(
            model={"arch": arch, "layers": 1, "heads": 2, "width": 8},
            thoughts={"name": "projection"},
            train={"seed": seed},
        )
        return build_model(chosen, build_tokenizer(chosen, [])).state_dict()

    one, again, other = weights(1, 0), weights(1, 5), weights(2, 0)
    assert all(torch.equal(one[name], again[name]) for name in one)
    for name in ("lm_head.weight", "model.thought_source.network.1.weight"):
        assert not torch.equal(one[name], other[name])


def test_building_draws_nothing_from_the_random_state_of_the_process():
    chosen = recipe(model={"layers": 1, "heads": 2, "width": 8}, thoughts={"name": "projection"})
    tokenizer = build_tokenizer(chosen, [])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build_model(chosen, tokenizer)
    assert torch.equal(torch.get_rng_state(), before)


# ---- what cannot be loaded


def test_a_path_without_a_model_and_a_damaged_one_are_refused(tmp_path):
    pretrained(tmp_path / "model", tied=True)
    chosen = recipe(model={"path": str(tmp_path / "model")})
    tokenizer = build_tokenizer(chosen, [])
    data = (tmp_path / "model" / "model.safetensors").read_bytes()
    (tmp_path / "model" / "model.safetensors").write_bytes(data[:-100])
    with pytest.raises(RecipeError, match=r"no model can be loaded from '.*/model': "):
        build_model(chosen, tokenizer)
    with pytest.raises(RecipeError, match=r"no model can be loaded from '.*/absent': "):
        build_model(recipe(model={"path": str(tmp_path / "absent")}), tokenizer)


def test_pickled_weights_are_not_read(tmp_path):
    """A pickle can run anything when it is opened."""
    model = pretrained(tmp_path, tied=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    chosen = recipe(model={"path": str(tmp_path)})
    with pytest.raises(RecipeError, match=r"no model can be loaded from .*safetensors"):
        build_model(chosen, build_tokenizer(chosen, []))


def test_a_plain_language_model_is_no_run(tmp_path):
    pretrained(tmp_path, tied=True)
    with pytest.raises(CheckpointError, match="holds a LlamaForCausalLM, not a latent model; train one with"):
        load_model(tmp_path)


# ---- rows


def some_rows(chosen):
    return read_examples(chosen.task, "train")


def fit(positions, **sections):
    """Prepare the rows of hops for a model of so many positions."""
    chosen = recipe(model={"layers": 1, "heads": 2, "width": 8, "max_positions": positions}, **sections)
    examples, ledger = some_rows(chosen)
    tokenizer = build_tokenizer(chosen, examples)
    return tokenize_rows(chosen, examples, ledger, tokenizer, build_model(chosen, tokenizer))


def test_rows_keep_their_order_and_their_account():
    rows = fit(64)
    assert [row.id for row in rows.tokenized] == [example.id for example in rows.examples]
    assert rows.ledger == Ledger(5, 5)
    assert rows.fingerprint == fingerprint(rows.examples)


def test_the_bound_on_a_row_is_the_longest_layout_there_is():
    """Question, all steps and answer: 14 + 3 + 1 words, and the end."""
    (row, *_) = fit(64).tokenized
    assert longest(row) == 19
    premises = sum(len(premise) for premise in row.premises)
    reworded = replace(row, questions=(row.questions[0], np.arange(7, dtype=np.int32)))
    assert longest(reworded) == premises + 7 + 3 + len(row.answer)
    assert longest(replace(row, start=np.array([1], dtype=np.int32))) == 20
    step = np.arange(2, dtype=np.int32)
    # 3 words of steps and 2 of the answer become 8 and 2; a choice is read without any steps
    assert longest(replace(row, other_steps=((step,), (step,) * 4))) == 19 + 5
    assert longest(replace(row, choices=(row.answer, np.arange(5, dtype=np.int32)))) == 19
    assert longest(replace(row, choices=(row.answer, np.arange(9, dtype=np.int32)))) == 19 + 4


def test_rows_that_do_not_fit_with_their_thoughts_are_counted_and_named_with_their_length():
    # 19 words, 2 x 3 thoughts and 2 markers
    method = {"name": "coconut", "thoughts_per_step": 3, "max_stage": 2}
    assert len(fit(27, method=method).tokenized) == 5
    with pytest.raises(DataError) as error:
        fit(26, method=method)
    first, *listed, last = str(error.value).split("\n")
    assert first == "5 of 5 rows are longer than the model's 26 positions:"
    assert [line.strip() for line in listed] == [
        f"row hops/train/{number}: 27 positions with 8 for thoughts and markers" for number in range(1, 6)
    ]
    assert last == "raise model.max_positions, or take these rows out"


def test_of_many_rows_that_do_not_fit_twenty_are_named_and_the_others_counted():
    with pytest.raises(DataError) as error:
        fit(20, task={**HOPS, "train_rows": 23})
    lines = str(error.value).split("\n")
    assert lines[0].startswith("23 of 23 rows")
    assert len(lines) == 1 + 20 + 1 + 1
    assert lines[-2].strip() == "and 3 more"


def test_only_the_rows_that_are_too_long_are_named():
    chosen = recipe(model={"layers": 1, "heads": 2, "width": 8, "max_positions": 24})
    examples, ledger = some_rows(chosen)
    tokenizer = build_tokenizer(chosen, examples)
    long = replace(examples[2], steps=(*examples[2].steps, "a b c d"))
    mixed = [*examples[:2], long, *examples[3:]]
    with pytest.raises(DataError, match=r"1 of 5 rows are .*\n  row hops/train/3: 27 positions with 4 for") as error:
        tokenize_rows(chosen, mixed, ledger, tokenizer, build_model(chosen, tokenizer))
    assert "hops/train/2" not in str(error.value)


def test_a_split_without_rows_is_refused(tmp_path):
    class Empty:
        name = "nothing"

        def examples(self, split):
            return (), Ledger(0, 0)

    with pytest.raises(DataError, match="the validation split of nothing has 0 rows; give it data"):
        read_examples(Empty(), "validation")


EXAMPLE = Example("1", "is it ?", ("so it is", "or not"), "yes", premises=("it is", "so"))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "2"},
        {"question": "is it  ?"},
        {"steps": ("so it is",)},
        {"steps": ("so it isor not",)},
        {"steps": ("so it is", "or not", "")},
        {"answer": "Yes"},
        {"premises": ("so", "it is")},
        {"premises": ("it is so",)},
        {"premises": (), "question": "it is so is it ?"},
        {"other_steps": (("it is",),)},
    ],
)
def test_the_fingerprint_changes_with_any_text(change):
    rows = [EXAMPLE, replace(EXAMPLE, id="9")]
    assert fingerprint([replace(EXAMPLE, **change), rows[1]]) != fingerprint(rows)
    assert fingerprint([rows[0], replace(rows[1], **change)]) != fingerprint(rows)


def test_the_fingerprint_is_that_of_the_texts_in_their_order_alone():
    rows = [EXAMPLE, replace(EXAMPLE, id="9")]
    assert fingerprint(rows) == fingerprint([replace(row) for row in rows])
    assert fingerprint(rows[::-1]) != fingerprint(rows)
    assert fingerprint(rows[:1]) != fingerprint(rows)
    graph = Graph(("a", "b"), ((0, 1),), 0, 1)
    assert fingerprint([replace(EXAMPLE, graph=graph), rows[1]]) == fingerprint(rows)


def test_the_fingerprint_is_the_same_in_every_process_and_release():
    """A run is resumed by a newer release, too."""
    assert fingerprint([EXAMPLE]) == "3fbafbef1d40c3540128c5179d36f8c88efcf6e311169fd464f2638bfed3476a"


# ---- tokenizers


def test_from_scratch_a_token_is_a_word_of_the_task():
    chosen = recipe()
    tokenizer = build_tokenizer(chosen, some_rows(chosen)[0])
    assert [tokenizer.decode([token]) for token in range(6, len(tokenizer))] == ["?", *"abcdef"]


PROSQA = {"name": "prosqa", "train_rows": 2, "validation_rows": 1, "test_rows": 1}


@pytest.mark.parametrize("task", [HOPS, PROSQA])
@pytest.mark.parametrize(
    "method",
    [
        {"name": "cot"},
        {"name": "icot"},
        {"name": "coconut", "max_stage": 2},
        {"name": "coconut", "max_stage": 2, "markers": False, "mix": 0.5},
        {"name": "coconut", "thoughts_per_step": 0, "markers": False},
    ],
)
def test_a_chat_is_the_prompt_of_the_last_stage(task, method):
    """Stock tools think without knowing it."""
    chosen = recipe(task=task, method=method)
    examples, _ = some_rows(chosen)
    tokenizer = build_tokenizer(chosen, examples)
    for example, row in zip(examples, tokenize(examples, chosen.task.text, tokenizer), strict=True):
        prompt = chosen.method.prompt(row, chosen.method.final_stage, thought_tokens(tokenizer))
        message = [{"role": "user", "content": " ".join([*example.premises, example.question])}]
        chat = tokenizer.apply_chat_template(message, add_generation_prompt=True)
        assert chat["input_ids"] == prompt.input_ids.tolist()


def test_another_tokenizer_may_be_given_to_a_model_from_scratch(tmp_path):
    pretrained(tmp_path, tied=True)
    chosen = recipe(model={"tokenizer": str(tmp_path), "layers": 1, "heads": 2, "width": 8})
    tokenizer = build_tokenizer(chosen, some_rows(chosen)[0])
    model = build_model(chosen, tokenizer)
    assert isinstance(model, LatentForCausalLM)
    assert model.config.vocab_size == len(tokenizer) == len(WORDS) + 3
    assert model.config.latent_token_id == tokenizer.convert_tokens_to_ids("<|latent|>") == len(WORDS) + 1


def test_rows_with_words_that_a_pretrained_tokenizer_does_not_know_are_refused(tmp_path):
    pretrained(tmp_path, tied=True, unknown="yes")
    chosen = recipe(model={"path": str(tmp_path)})
    examples, _ = some_rows(chosen)
    with pytest.raises(DataError, match="not in the vocabulary"):
        tokenize(examples, chosen.task.text, build_tokenizer(chosen, examples))
