"""One question to a trained model: the same answer as in an evaluation, and what its thoughts are closest to."""

import pytest
import torch

from unspoken.answer import Answer, ask, render
from unspoken.errors import DataError, RecipeError
from unspoken.evaluation.evaluate import evaluate
from unspoken.files import read_json_lines
from unspoken.recipe import resolve
from unspoken.run_directory import open_run
from unspoken.training.supervised import train

# a question takes 14 words; with steps, answer, thoughts and markers a row may take 24 positions
POSITIONS = 24
TASK = {"name": "hops", "symbols": 6, "hops": 3, "train_rows": 16, "validation_rows": 12, "test_rows": 2}
METHODS = {
    "coconut": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0},
    "counted": {"name": "coconut", "max_stage": 2, "epochs_per_stage": 0, "pad_thoughts": False, "markers": False},
    "cot": {"name": "cot"},
    "superposition": {"name": "superposition", "max_stage": 3, "epochs_per_stage": 0},
}


def trained(out, method, **sections):
    """A run of one step from large random weights: its answers differ from row to row."""
    recipe = {
        "task": TASK,
        "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": POSITIONS, "init_std": 0.5},
        "method": METHODS[method],
        "train": {"epochs": 1, "batch_size": 16, "save": "end", "validation_rows": 1},
        **sections,
    }
    return open_run(train(resolve(recipe, "test"), out))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Opens the run of a method; each is trained once."""
    opened = {}

    def run(method):
        if method not in opened:
            opened[method] = trained(tmp_path_factory.mktemp(method) / "run", method)
        return opened[method]

    return run


def question(run, index=0):
    example = run.recipe.task.examples("validation")[0][index]
    return " ".join([*example.premises, example.question])


@pytest.mark.parametrize(("method", "thoughts"), [("coconut", 2), ("counted", 2), ("cot", 0), ("superposition", 3)])
def test_every_question_is_answered_as_in_the_evaluation(runs, method, thoughts):
    run = runs(method)
    evaluate(run.path, overrides=["controls=[]"])
    predictions = read_json_lines(run.path / "predictions.jsonl")
    assert len({prediction["text"] for prediction in predictions}) > 2
    for prediction in predictions:
        answer = ask(run, prediction["question"])
        assert (answer.text, answer.answer) == (prediction["text"], prediction["predicted"])
        assert answer.num_passes == prediction["num_passes"]
        assert len(answer.thoughts) == prediction["num_thoughts"] == thoughts


def test_the_first_thought_reads_as_the_next_word_it_came_from(runs):
    """The thought of Coconut is the state before its slot, and the head reads states."""
    run = runs("counted")
    text = question(run)
    ids = run.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        probabilities = run.model(input_ids=ids).logits[0, -1].softmax(dim=-1)
    first = ask(run, text).thoughts[0]
    best = probabilities.topk(5)
    assert [word for word, _ in first] == [run.tokenizer.decode([token]) for token in best.indices.tolist()]
    assert [value for _, value in first] == pytest.approx(best.values.tolist(), rel=1e-4)


def test_it_thinks_as_often_as_it_is_told_to(runs):
    run = runs("counted")
    for count in (0, 1, 3):
        answer = ask(run, question(run), num_thoughts=count, max_new_tokens=1)
        assert len(answer.thoughts) == count
        assert answer.num_passes == count + 1
    deep, shallow = (ask(run, question(run), num_thoughts=count).thoughts for count in (3, 1))
    assert dict(deep[0]) == pytest.approx(dict(shallow[0])), "later thoughts change no earlier one"


def test_an_answer_ends_where_it_is_told_to_or_where_the_positions_end(runs):
    run = runs("cot")
    texts = [ask(run, question(run, index)).text.split() for index in range(12)]
    assert max(map(len, texts)) == POSITIONS - 14, "some answer is as long as the model allows"
    index = next(index for index, words in enumerate(texts) if len(words) == POSITIONS - 14)
    assert ask(run, question(run, index), max_new_tokens=2).text.split() == texts[index][:2]


def test_a_question_that_fills_the_model_is_refused(runs):
    run = runs("counted")
    room = POSITIONS - 14 - 1
    assert ask(run, question(run), num_thoughts=room).num_passes == room + 1
    with pytest.raises(
        DataError, match=r"takes 24 positions with its 10 thoughts, the model has 24; let it think less often"
    ):
        ask(run, question(run), num_thoughts=room + 1)


def test_samples_depend_on_the_seed_alone_and_on_the_temperature(runs):
    run = runs("cot")

    def sample(seed, temperature=1.0):
        return ask(run, question(run), sample=True, seed=seed, temperature=temperature).text

    drawn = [sample(seed, 3.0) for seed in range(6)]
    assert drawn == [sample(seed, 3.0) for seed in range(6)]
    assert len(set(drawn)) > 2
    assert {sample(seed, 1e-4) for seed in range(3)} == {ask(run, question(run)).text}


def test_all_mistakes_are_reported_at_once(runs):
    with pytest.raises(RecipeError) as error:
        ask(runs("coconut"), " \n", num_thoughts=-1, max_new_tokens=0, sample=True, temperature=0.0)
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "question",
        "thoughts",
        "max_new_tokens",
        "temperature",
    ]


def test_the_temperature_has_no_say_without_sampling(runs):
    run = runs("coconut")
    assert ask(run, question(run), temperature=0.0).text == ask(run, question(run)).text


def test_a_method_without_thoughts_cannot_be_told_to_think(runs):
    run = runs("cot")
    assert ask(run, question(run), num_thoughts=0).text == ask(run, question(run)).text
    with pytest.raises(RecipeError, match="cot has no thoughts, found a budget of 2"):
        ask(run, question(run), num_thoughts=2)


def test_an_answer_without_words_is_said():
    assert render(Answer("", None, (), 3), show_thoughts=False) == "(no words: it ended its answer at once)"


def test_a_word_that_the_model_does_not_know_is_named(runs):
    with pytest.raises(
        DataError, match=r"the words 'z', '\.' are not in the vocabulary:\n  row question: 'z', '\.' of 'a b c z . a'"
    ):
        ask(runs("coconut"), "a b c z ? a".replace("?", "."))


def test_control_tokens_in_a_question_are_no_thoughts(runs):
    run = runs("coconut")
    with pytest.raises(DataError, match="not in the vocabulary"):
        ask(run, question(run) + " <|latent|>")


def test_the_answer_is_shown_with_its_thoughts_or_without(runs):
    run = runs("coconut")
    answer = ask(run, question(run))
    assert render(answer, show_thoughts=False) == answer.text
    first, second, *text = render(answer, show_thoughts=True).split("\n")
    assert "\n".join(text) == answer.text
    for number, (line, thought) in enumerate([(first, answer.thoughts[0]), (second, answer.thoughts[1])], 1):
        assert line.startswith(f"thought {number}: {thought[0][0]!r} {thought[0][1]:.2f}  {thought[1][0]!r} ")
    without = ask(runs("cot"), question(run))
    assert render(without, show_thoughts=True) == f"no thoughts: this model answers in words alone\n{without.text}"
