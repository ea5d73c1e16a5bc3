"""One word of the task a token: what survives a round trip, and what the thought tokens are."""

import re

import pytest
from transformers import AutoTokenizer, GPT2Tokenizer

from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import load_tokenizer, set_chat_template, thought_tokens, word_tokenizer, words_of
from unspoken.errors import RecipeError
from unspoken.records import Example, TextFormat, ThoughtTokens
from unspoken.tasks.custom import Custom
from unspoken.tasks.hops import Hops
from unspoken.tasks.multiplication import Multiplication
from unspoken.tasks.prontoqa import ProntoQA
from unspoken.tasks.prosqa import ProsQA

ROWS = {"train_rows": 40, "validation_rows": 10, "test_rows": 10}
GENERATED = {
    "hops": Hops(**ROWS),
    "prosqa words": ProsQA(**ROWS),
    "prosqa symbols": ProsQA(rendering="symbols", **ROWS),
    "multiplication": Multiplication(**ROWS),
}


def tokenizer_of(task):
    examples, _ = task.examples("train")
    return word_tokenizer(task.words() or words_of(examples, task.text))


def spaced(text):
    """The documented spacing: single spaces between words, none before . ? ! and a comma."""
    words = re.findall(r"\n|\[\w+\]|\w+|[^\w\s]+", text)
    return re.sub(r" (?=[.?!,])", "", " ".join(words))


def written(example, form):
    steps = "".join(step + form.step_end for step in example.steps)
    question = form.premise_separator.join([*example.premises, example.question])
    return question + form.question_end + steps + form.answer_start + example.answer


def squeezed(text):
    return "".join(text.split())


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def assert_round_trip(task, tokenizer, example):
    """Text to tokens and back: whole, as documented, and the gold answer in it is scored as right."""
    text = written(example, task.text)
    decoded = tokenizer.decode(ids_of(tokenizer, text))
    assert decoded == spaced(text)
    assert squeezed(decoded) == squeezed(text)
    (row,) = tokenize([example], task.text, tokenizer)
    for output_pieces in ([row.answer], [*row.steps, row.answer]):
        output = tokenizer.decode([token for piece in output_pieces for token in piece], skip_special_tokens=True)
        assert task.score(example, output).verdict == "right", output


@pytest.mark.parametrize("name", GENERATED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_generated_rows_survive_the_round_trip_and_score_as_right(name, split):
    task = GENERATED[name]
    tokenizer = tokenizer_of(task)
    for example in task.examples(split)[0]:
        assert_round_trip(task, tokenizer, example)


@pytest.mark.parametrize("name", ["hops", "prosqa symbols"])
def test_text_without_punctuation_comes_back_letter_by_letter(name):
    task = GENERATED[name]
    tokenizer = tokenizer_of(task)
    for example in task.examples("train")[0]:
        question, answer = example.question, " ".join([*example.steps, example.answer])
        assert tokenizer.decode(ids_of(tokenizer, question)) == question
        assert tokenizer.decode(ids_of(tokenizer, answer)) == answer


def test_sentences_of_prosqa_come_back_letter_by_letter():
    task = GENERATED["prosqa words"]
    tokenizer = tokenizer_of(task)
    for example in task.examples("train")[0]:
        for text in (*example.premises, example.question, *example.steps, example.answer):
            assert tokenizer.decode(ids_of(tokenizer, text)) == text


@pytest.mark.parametrize("form", ["words", "symbols"])
def test_the_released_prosqa_rows_survive_the_round_trip(shared_data, form):
    task = ProsQA(rendering=form, validation=shared_data / "prosqa" / "valid.json", **ROWS)
    if form == "symbols":
        task = ProsQA(rendering=form, **ROWS)
    tokenizer = tokenizer_of(task)
    for example in task.examples("validation")[0]:
        assert_round_trip(task, tokenizer, example)


def test_the_released_prontoqa_rows_survive_the_round_trip(shared_data):
    path = shared_data / "prontoqa" / "valid.json"
    task = ProntoQA(train=path, validation=path)
    tokenizer = tokenizer_of(task)
    for example in task.examples("validation")[0]:
        assert_round_trip(task, tokenizer, example)


def test_the_released_multiplications_survive_the_round_trip(shared_data):
    task = Multiplication(validation=shared_data / "multiplication" / "4x4_valid.txt", **ROWS)
    tokenizer = tokenizer_of(task)
    for example in task.examples("validation")[0][:100]:
        assert_round_trip(task, tokenizer, example)


def test_special_tokens_come_first_and_words_keep_their_order():
    tokenizer = word_tokenizer(["b", "a", "b", "c"])
    specials = ["<|pad|>", "<|endoftext|>", "<|unknown|>", "<|start-latent|>", "<|latent|>", "<|end-latent|>"]
    assert tokenizer.get_vocab() == {word: index for index, word in enumerate([*specials, "b", "a", "c"])}
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert thought_tokens(tokenizer) == ThoughtTokens(latent=4, start=3, end=5)
    assert tokenizer.padding_side == "left"


def test_a_word_is_a_line_break_a_name_in_brackets_letters_and_digits_or_a_run_of_punctuation():
    words = words_of([Example("1", "[Q] Tom's 3.5%?!\n\nno_1 || x", (), "y")], TextFormat("", "", "", ""))
    assert words == ["[Q]", "Tom", "'", "s", "3", ".", "5", "%?!", "\n", "no_1", "||", "x", "y"]


def test_the_words_of_the_format_are_words_even_when_no_example_has_a_step():
    examples = [Example("1", "one", (), "two")]
    text = TextFormat(premise_separator=" ; ", question_end=" =>", step_end=" .", answer_start="### ")
    assert set(words_of(examples, text)) == {";", "=>", ".", "###", "one", "two"}


ODD = (
    "5m\u00b2 or \u00bd of 3/4?",
    "na\u00efve \u2013 \u201cquoted\u201d \u2026",
    "\u6570\u5b66\u306e\u7b54\u3048",
    "\u0435\u0301 \u0430\u0304",
    "a\u200db\u00ad",
    "\u0663+\u0664=\u0667",
    "x_1.",
    "\U0001f600!?",
    "line\u2028end",
)
ENDINGS = TextFormat(question_end="?? ", step_end=". ", answer_start="(answer) ")


@pytest.mark.parametrize("form", [TextFormat(), ENDINGS])
def test_every_row_fits_the_vocabulary_that_was_made_from_it(form):
    """Superscripts, fractions and characters of other scripts too, and where an ending joins the word before it."""
    examples = [
        Example(str(i), text, (text, "so " + text), text, premises=(text, "b"), rewordings=("Is " + text,))
        for i, text in enumerate(ODD)
    ]
    tokenizer = word_tokenizer(words_of(examples, form))
    for row in tokenize(examples, form, tokenizer):  # an unknown word would be an error
        assert row.answer[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", ["word", "gpt2"])
def test_control_tokens_inside_a_text_are_plain_text(kind, request):
    text = "<|latent|> <|start-latent|> x <|end-latent|><|endoftext|> <|pad|>"
    example = Example("1", text, (text,), text)
    if kind == "word":
        tokenizer = word_tokenizer(words_of([example], TextFormat()))
    else:
        tokenizer = load_tokenizer(str(request.getfixturevalue("shared_data") / "gpt2-tokenizer"))
    (row,) = tokenize([example], TextFormat(), tokenizer)
    pieces_ids = [*row.questions, *row.steps, row.answer[:-1]]
    assert not {token for piece in pieces_ids for token in piece.tolist()} & set(tokenizer.all_special_ids)
    # the same tokenizer still finds them where a prompt needs them
    assert tokenizer("<|latent|>")["input_ids"] == [thought_tokens(tokenizer).latent]


def test_saving_and_loading_keeps_every_id_and_the_thought_tokens(tmp_path):
    task = GENERATED["prosqa words"]
    tokenizer = tokenizer_of(task)
    tokenizer.save_pretrained(tmp_path)
    examples = task.examples("validation")[0]
    expected = tokenize(examples, task.text, tokenizer)
    for reopened in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(str(tmp_path))):
        assert reopened.get_vocab() == tokenizer.get_vocab()
        assert thought_tokens(reopened) == thought_tokens(tokenizer)
        assert (reopened.pad_token_id, reopened.eos_token_id, reopened.unk_token_id) == (0, 1, 2)
        assert reopened.padding_side == "left"
        for row, again in zip(expected, tokenize(examples, task.text, reopened), strict=True):
            assert [piece.tolist() for piece in row.questions] == [piece.tolist() for piece in again.questions]
            assert row.answer.tolist() == again.answer.tolist()
            assert reopened.decode(row.answer) == tokenizer.decode(row.answer)


def chat(tokenizer, text, **kwargs):
    message = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(message, add_generation_prompt=True, **kwargs)


@pytest.mark.parametrize("markers", [True, False])
def test_the_chat_template_puts_the_thoughts_after_the_question(markers, tmp_path):
    tokenizer = word_tokenizer(["is", "it", "?"])
    set_chat_template(tokenizer, 3, markers=markers)
    tokens = thought_tokens(tokenizer)
    around = ([tokens.start], [tokens.end]) if markers else ([], [])
    question = [6, 7, 8]

    def expected(count):
        return question + around[0] + [tokens.latent] * count + around[1]

    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert chat(each, "is it ?")["input_ids"] == expected(3)
        for count in (0, 1, 7):
            assert chat(each, "is it ?", n_latent=count)["input_ids"] == expected(count)


def test_a_chat_without_a_generation_prompt_holds_no_thought():
    tokenizer = word_tokenizer(["is", "it", "?"])
    set_chat_template(tokenizer, 3, markers=True)
    message = [{"role": "user", "content": "is it ?"}]
    assert tokenizer.apply_chat_template(message)["input_ids"] == [6, 7, 8]


def test_a_tokenizer_without_thought_tokens_is_refused(shared_data):
    plain = AutoTokenizer.from_pretrained(shared_data / "gpt2-tokenizer")
    with pytest.raises(RecipeError, match="it lacks"):
        thought_tokens(plain)


def test_a_path_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path))):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_that_cannot_end_an_answer_is_refused(tmp_path):
    tokenizer = word_tokenizer(["a"])
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="end-of-sequence"):
        load_tokenizer(str(tmp_path))


def test_the_thought_tokens_of_gpt2_get_the_ids_after_the_old_ones(shared_data):
    path = str(shared_data / "gpt2-tokenizer")
    plain, tokenizer = AutoTokenizer.from_pretrained(path), load_tokenizer(path)
    assert len(plain) == 50257
    assert thought_tokens(tokenizer) == ThoughtTokens(latent=50258, start=50257, end=50259)
    assert len(tokenizer) == 50260
    vocabulary = tokenizer.get_vocab()
    assert {token: vocabulary[token] for token in plain.get_vocab()} == plain.get_vocab()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 50256
    assert isinstance(tokenizer, GPT2Tokenizer)


def test_the_thought_tokens_are_added_only_once(shared_data, tmp_path):
    tokenizer = load_tokenizer(str(shared_data / "gpt2-tokenizer"))
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(str(tmp_path))
    assert again.get_vocab() == tokenizer.get_vocab()
    assert thought_tokens(again) == thought_tokens(tokenizer)


def test_with_gpt2_the_chat_template_gives_single_tokens(shared_data):
    tokenizer = load_tokenizer(str(shared_data / "gpt2-tokenizer"))
    set_chat_template(tokenizer, 2, markers=True)
    ids = chat(tokenizer, "How many?")["input_ids"]
    assert ids == [*tokenizer("How many?")["input_ids"], 50257, 50258, 50258, 50259]


def test_a_custom_task_with_its_own_endings_trains_from_scratch(tmp_path):
    """An ending that joins the punctuation before it makes a word that no piece alone shows."""
    path = tmp_path / "rows.json"
    path.write_text('[{"question": "How many?", "steps": ["2 + 2 = 4."], "answer": "4"}]')
    task = Custom(train=path, question_end="!! ", step_end=". ", answer_start="=> ")
    tokenizer = tokenizer_of(task)
    (example,) = task.examples("train")[0]
    assert_round_trip(task, tokenizer, example)
