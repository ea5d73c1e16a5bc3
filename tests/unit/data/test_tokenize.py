"""Every piece of an example becomes token ids, once; joined again the pieces are the text."""

from dataclasses import replace
from itertools import permutations
from random import Random

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from unspoken.data.stage import question_tokens
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import load_tokenizer, word_tokenizer
from unspoken.errors import DataError
from unspoken.records import Example, TextFormat
from unspoken.tasks.gsm8k import GSM8K
from unspoken.tasks.prosqa import ProsQA

WORDS = ["a", "b", "c", "d", "|", ";", ">", "#"]
FORM = TextFormat(premise_separator=" ; ", question_end=" >", step_end=" |", answer_start="# ")
EXAMPLE = Example(
    id="1",
    question="c d",
    steps=("a", "b b"),
    answer="a b",
    premises=("a b", "b a", "d"),
    rewordings=("d c", "d"),
    frontiers=(("a", "b"), ("c",)),
)


def words(tokenizer, piece):
    return " ".join(tokenizer.convert_ids_to_tokens(piece.tolist()))


def test_each_piece_is_tokenised_with_its_ending_or_separator():
    tokenizer = word_tokenizer(WORDS)
    (row,) = tokenize([EXAMPLE], FORM, tokenizer)
    assert row.id == "1"
    assert row.start.tolist() == []
    assert [words(tokenizer, piece) for piece in row.premises] == ["; a b", "; b a", "; d"]
    assert [words(tokenizer, piece) for piece in row.openings] == ["a b", "b a", "d"]
    assert [words(tokenizer, piece) for piece in row.questions] == ["; c d >", "; d c >", "; d >"]
    assert [words(tokenizer, piece) for piece in row.steps] == ["a |", "b b |"]
    assert words(tokenizer, row.answer) == "# a b <|endoftext|>"
    assert row.answer_start == 1
    assert row.frontiers == ((6, 7), (8,))
    assert {piece.dtype for piece in (*row.premises, *row.questions, *row.steps, row.answer)} == {np.dtype(np.int32)}


def test_choices_are_tokenised_as_answers_and_other_reasonings_as_steps():
    tokenizer = word_tokenizer(WORDS)
    example = replace(EXAMPLE, choices=("c", "a b", "d d"), other_steps=(("c",), (), ("d a", "a")))
    (row,), (plain,) = tokenize([example], FORM, tokenizer), tokenize([EXAMPLE], FORM, tokenizer)
    assert [words(tokenizer, piece) for piece in row.choices] == [
        "# c <|endoftext|>", "# a b <|endoftext|>", "# d d <|endoftext|>",
    ]  # fmt: skip
    assert row.choices[1].tolist() == row.answer.tolist()
    assert [[words(tokenizer, step) for step in steps] for steps in row.other_steps] == [["c |"], [], ["d a |", "a |"]]
    for name in ("premises", "openings", "questions", "steps"):
        pairs = zip(getattr(row, name), getattr(plain, name), strict=True)
        assert all(one.tolist() == other.tolist() for one, other in pairs)
    assert (plain.choices, plain.other_steps) == ((), ())
    with pytest.raises(DataError, match="the word 'x' is not in the vocabulary:\\n  row 1: 'x' of '# x'\\n"):
        tokenize([replace(EXAMPLE, choices=("x",))], FORM, tokenizer)
    with pytest.raises(DataError, match=r"the word 'y' is not in the vocabulary:\n  row 1: 'y' of 'a y \|'"):
        tokenize([replace(EXAMPLE, other_steps=(("a y",),))], FORM, tokenizer)


def test_without_premises_the_question_has_no_separator_and_without_steps_there_are_none():
    tokenizer = word_tokenizer(WORDS)
    (row,) = tokenize([Example("1", "c", (), "a")], FORM, tokenizer)
    assert [words(tokenizer, piece) for piece in row.questions] == ["c >"]
    assert (row.premises, row.steps, row.frontiers) == ((), (), ())


def test_without_an_answer_start_nothing_of_the_answer_is_given():
    (row,) = tokenize([EXAMPLE], TextFormat(" ; ", " >", " |", ""), word_tokenizer(WORDS))
    assert row.answer_start == 0
    assert row.answer.tolist() == [6, 7, 1]


def test_no_rows_are_no_tokens():
    assert tokenize([], FORM, word_tokenizer(WORDS)) == []


def test_an_unknown_word_is_an_error_that_names_the_row_and_the_piece():
    rows = [EXAMPLE, Example("row 7", "a", ("b x",), "c"), Example("row 9", "y", (), "z")]
    with pytest.raises(DataError) as error:
        tokenize(rows, FORM, word_tokenizer(WORDS))
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == ["row row 7", "row row 9", "row row 9"]
    assert "'b x |'" in lines[1]
    assert "'y >'" in lines[2]
    assert "'# z'" in lines[3]


def test_many_unknown_words_are_counted_after_the_first_twenty():
    rows = [Example(str(number), "x", (), "a") for number in range(25)]
    with pytest.raises(DataError, match="and 5 more"):
        tokenize(rows, FORM, word_tokenizer(WORDS))


def test_every_unknown_word_is_named_with_the_remedy():
    rows = [Example("1", "a zebra b", (), "a"), Example("2", "a", ("x zebra",), "b")]
    with pytest.raises(DataError) as refused:
        tokenize(rows, FORM, word_tokenizer(WORDS))
    assert str(refused.value).splitlines() == [
        "the words 'zebra', 'x' are not in the vocabulary:",
        "  row 1: 'zebra' of 'a zebra b >'",
        "  row 2: 'x', 'zebra' of 'x zebra |'",
        "A tokenizer from scratch knows the words of the training rows alone: use those, or train with model.tokenizer "
        "set to a subword tokenizer",
    ]


def test_a_frontier_word_that_is_no_single_token_takes_the_frontiers_of_its_row_away():
    rows = [EXAMPLE, Example("2", "c", ("a",), "b", frontiers=(("a", "a b"),))]
    first, second = tokenize(rows, FORM, word_tokenizer(WORDS))
    assert first.frontiers == ((6, 7), (8,))
    assert second.frontiers == ()


def tokenizer_with(template):
    inner = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<u>": 2, "a": 3, "b": 4}, unk_token="<u>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(template, special_tokens=[("<s>", 0), ("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<u>")


@pytest.mark.parametrize(("template", "start"), [("<s> $A", [0]), ("<s> $A </s>", [0]), ("$A </s>", []), ("$A", [])])
def test_a_row_begins_as_the_texts_of_its_tokenizer_do(template, start):
    """With its beginning-of-sequence token, where it writes one; never with the end of a text."""
    tokenizer = tokenizer_with(template)
    (row,) = tokenize([Example("1", "a", ("b",), "a")], TextFormat(" ", " ", " ", ""), tokenizer)
    assert row.start.tolist() == start
    # and no other piece begins with it
    assert [row.questions[0].tolist(), row.steps[0].tolist(), row.answer.tolist()] == [[3], [4], [3, 1]]


def joined(row):
    return np.concatenate([question_tokens(row), *row.steps, row.answer]).tolist()


@pytest.fixture
def gpt2(shared_data):
    return load_tokenizer(str(shared_data / "gpt2-tokenizer"))


def test_with_gpt2_the_pieces_of_gsm8k_decode_to_the_text_of_the_release(shared_data, gpt2):
    examples, _ = GSM8K(validation=shared_data / "gsm8k" / "aug_valid.json").examples("validation")
    assert len(examples) == 500
    for example, row in zip(examples, tokenize(examples, TextFormat(), gpt2), strict=True):
        text = "\n".join([example.question, *example.steps, f"### {example.answer}<|endoftext|>"])
        assert gpt2.decode(joined(row)) == text
        assert gpt2.decode(row.answer[: row.answer_start]) == "###"


def test_with_gpt2_the_pieces_of_gsm8k_are_the_tokens_of_the_whole_text(shared_data, gpt2):
    """The release checks this for its first row; a piece that ends in spaces would merge with its line break."""
    examples, _ = GSM8K(validation=shared_data / "gsm8k" / "aug_valid.json").examples("validation")
    for example, row in zip(examples, tokenize(examples, TextFormat(), gpt2), strict=True):
        whole = "\n".join([example.question, *example.steps, f"### {example.answer}"])
        assert joined(row)[:-1] == gpt2(whole)["input_ids"]


def test_with_gpt2_the_pieces_of_prosqa_are_the_tokens_of_the_whole_text(shared_data, gpt2):
    task = ProsQA(validation=shared_data / "prosqa" / "valid.json")
    examples = task.examples("validation")[0][:50]
    for example, row in zip(examples, tokenize(examples, task.text, gpt2), strict=True):
        question = " ".join([*example.premises, example.question])
        whole = "\n".join([question, *example.steps, f"### {example.answer}"])
        assert joined(row)[:-1] == gpt2(whole)["input_ids"]


def assert_shuffles_whole_sentences(task, tokenizer):
    """Drawn anew, a question is its sentences in another order: well separated, none lost, none joined."""
    examples, rng, orders = task.examples("validation")[0][:20], Random(0), set()
    for example, row in zip(examples, tokenize(examples, task.text, tokenizer), strict=True):
        text = tokenizer.decode(question_tokens(row, rng)).strip()
        question = next(each for each in (example.question, *example.rewordings) if text.endswith(each))
        premises = text.removesuffix(question)
        orders.add(premises.startswith(example.premises[0]))
        for premise in sorted(example.premises, key=len, reverse=True):
            assert f"{premise} " in premises
            premises = premises.replace(f"{premise} ", "", 1)
        assert premises == ""
    assert orders == {True, False}


@pytest.mark.parametrize("rendering", ["words", "symbols"])
def test_with_words_as_tokens_shuffled_premises_are_the_same_sentences(rendering):
    task = ProsQA(rendering=rendering, train_rows=1, validation_rows=20, test_rows=1)
    assert_shuffles_whole_sentences(task, word_tokenizer(task.words()))


def test_with_gpt2_shuffled_premises_are_the_same_sentences(gpt2):
    """Only the premise that comes first has no space before it, whichever that is."""
    assert_shuffles_whole_sentences(ProsQA(train_rows=1, validation_rows=20, test_rows=1), gpt2)


def test_a_separator_that_is_a_word_stands_between_shuffled_premises():
    tokenizer = word_tokenizer(WORDS)
    (row,) = tokenize([EXAMPLE], FORM, tokenizer)
    texts = {words(tokenizer, question_tokens(row, Random(seed))) for seed in range(200)}
    orders = [" ; ".join(order) for order in permutations(["a b", "b a", "d"])]
    assert texts == {f"{order} ; {asked} >" for order in orders for asked in ("c d", "d c", "d")}
    assert words(tokenizer, question_tokens(row)) == "a b ; b a ; d ; c d >"
