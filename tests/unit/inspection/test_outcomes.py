"""Shares of outcomes against one question at a time, and against texts whose class is known."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from unspoken.answer import ask
from unspoken.evaluation.statistics import wilson
from unspoken.evaluation.subject import Subject
from unspoken.inspection.outcomes import outcomes, written_after
from unspoken.prepare import build_model, build_tokenizer
from unspoken.recipe import resolve
from unspoken.records import Example, Graph, Prediction
from unspoken.run_directory import Run
from unspoken.tasks.prosqa import ProsQA

TASKS = {
    "prosqa": {
        "name": "prosqa", "rendering": "symbols", "max_nodes": 8, "min_hops": 2, "max_hops": 3,
        "train_rows": 1, "validation_rows": 1, "test_rows": 8,
    },
    "hops": {"name": "hops", "symbols": 4, "hops": 3, "train_rows": 1, "validation_rows": 1, "test_rows": 12},
}  # fmt: skip
LONGEST = 6


def outcomes_of(subject, num_thoughts):
    return outcomes(subject, num_thoughts, written_after(subject, num_thoughts))


def subject_for(task):
    """A run as `open_run` gives it, with large random weights: its answers differ from row to row."""
    recipe = resolve(
        {
            "task": TASKS[task],
            "model": {"layers": 1, "heads": 2, "width": 16, "max_positions": 96, "init_std": 0.5},
            "method": {"name": "coconut", "max_stage": 3},
            "evaluate": {"batch_size": 5, "max_new_tokens": LONGEST},
            "train": {"seed": 3},  # with these weights it answers some rows of hops right
        },
        "test",
    )
    tokenizer = build_tokenizer(recipe, [])
    run = Run(Path("nowhere"), recipe, build_model(recipe, tokenizer).eval(), tokenizer, 3, {})
    return Subject.of(run, recipe.task.examples("test")[0], lambda name, done, total: None)


@pytest.mark.parametrize("num_thoughts", [0, 2])
@pytest.mark.parametrize("name", TASKS)
def test_the_figures_are_those_of_asking_one_question_at_a_time(name, num_thoughts):
    subject = subject_for(name)
    task, examples = subject.run.recipe.task, subject.examples
    answers = [
        ask(
            subject.run,
            " ".join([*example.premises, example.question]),
            num_thoughts=num_thoughts,
            max_new_tokens=LONGEST,
        )
        for example in examples
    ]
    verdicts = [task.score(example, answer.text).verdict for example, answer in zip(examples, answers, strict=True)]
    kinds = verdicts
    if name == "prosqa":
        kinds = [
            task.classify(example, answer.text, hidden_steps=num_thoughts)
            for example, answer in zip(examples, answers, strict=True)
        ]
    n, right = len(examples), verdicts.count("right")
    found = outcomes_of(subject, num_thoughts)
    assert (found.num_thoughts, found.n) == (num_thoughts, n)
    assert found.classes == {kind: pytest.approx(count / n) for kind, count in Counter(kinds).items()}
    assert sum(found.classes.values()) == pytest.approx(1.0)
    assert found.accuracy == right / n
    assert found.interval == wilson(right, n)
    assert found.tokens_per_answer == pytest.approx(sum(each.num_passes - num_thoughts for each in answers) / n)
    assert len(found.classes) > 1


# 0 -> 1 -> 2 (the target) and 0 -> 3; nothing leads to 4
LINE = Graph(("0", "1", "2", "3", "4"), ((0, 1), (1, 2), (0, 3)), root=0, target=2, distractor=4)
ROW = Example("row", "[Q] 2 4 [R] 0", ("1", "2"), "2", graph=LINE)
TEXTS = {
    "1 2 [A] 2": "correct path",
    "1 3 [A] 2": "hallucination",
    "3 [A] 3": "wrong target",
    "[A] 2": "correct label",
    "[A] 4": "incorrect label",
    "": "incorrect label",
}


class Written:
    """A subject whose answers are given."""

    def __init__(self, texts, example=ROW, method=None):
        self.task = ProsQA(rendering="symbols")
        self.run = SimpleNamespace(recipe=SimpleNamespace(task=self.task, method=method or SimpleNamespace()))
        self.examples = [example] * len(texts)
        self.texts = texts
        self.asked = []

    def prompts(self, num_thoughts):
        self.asked.append(num_thoughts)
        return [None] * len(self.texts)

    def answer(self, name, prompts):
        found = {}
        for row, text in reversed(list(enumerate(self.texts))):  # rows of like length are answered together
            score = self.task.score(self.examples[row], text)
            found[row] = Prediction("", "", "2", text, score.predicted, score.verdict, 0, len(text.split()), 0)
        return found


def test_every_class_of_prosqa_has_its_share():
    texts = [*TEXTS, "1 2 [A] 2", "1 2"]
    subject = Written(texts)
    found = outcomes_of(subject, 0)
    assert subject.asked == [0]
    counts = Counter([*TEXTS.values(), "correct path", "correct path"])
    assert found.classes == {kind: count / 8 for kind, count in counts.items()}
    assert list(found.classes) == sorted(counts)
    # an answer that is written counts, whatever the path before it; a path alone is no answer
    assert (found.accuracy, found.interval) == (4 / 8, wilson(4, 8))
    assert found.tokens_per_answer == sum(len(text.split()) for text in texts) / 8


def test_steps_that_were_taken_in_thoughts_need_not_be_written():
    texts = ["2 [A] 2"]
    assert outcomes_of(Written(texts), 0).classes == {"hallucination": 1.0}
    assert outcomes_of(Written(texts), 1).classes == {"correct path": 1.0}
    two = SimpleNamespace(thoughts_per_step=2)
    assert outcomes_of(Written(texts, method=two), 1).classes == {"hallucination": 1.0}
    assert outcomes_of(Written(texts, method=two), 2).classes == {"correct path": 1.0}


def test_a_row_without_a_graph_has_the_class_of_its_verdict():
    plain = Example("row", "?", (), "2")
    found = outcomes_of(Written(["[A] 2", "[A] 3", "2", ""], plain), 1)
    assert found.classes == {"right": 0.25, "wrong": 0.25, "no answer": 0.5}
    assert found.accuracy == 0.25
