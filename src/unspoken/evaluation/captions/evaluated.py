"""The captions of an evaluation: under every condition, and beside what writes one without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unspoken.evaluation.captions.bleu import signature
from unspoken.evaluation.captions.images import another
from unspoken.evaluation.captions.measure import Captions, Written, measure, plain
from unspoken.records import Example, Prediction
from unspoken.tasks.base import Task


def weighed(examples: Sequence[Example]) -> list[Example]:
    """Rows whose reference is their one choice, so that its likelihood is measured."""
    return [replace(example, choices=(example.answer,)) for example in examples]


def measured(
    task: Task,
    examples: Sequence[Example],
    conditions: Mapping[str, Sequence[Prediction]],
    num_tokens: Sequence[int],
) -> dict[str, Any]:
    """The `captions` of `results.json`.

    Args:
        task: Of captions.
        examples: Its rows, at least two.
        conditions: What was written under each; `none` is the model as trained.
        num_tokens: Of each reference, those that its log-likelihood sums over.
    """
    references = [[example.answer] for example in examples]
    found = {
        name: measure(
            references,
            [caption(task, prediction) for prediction in predictions],
            written=[_written(*each) for each in zip(predictions, num_tokens, strict=True)],
        )
        for name, predictions in conditions.items()
    }
    found |= _baselines(task, examples)
    trained = found["none"]
    return {
        "n": len(examples),
        "bleu": signature(),
        "conditions": {name: plain(captions.figures()) for name, captions in found.items()},
        "lost": {name: plain(trained.less(captions)) for name, captions in found.items() if name != "none"},
    }


def caption(task: Task, prediction: Prediction) -> str:
    """The caption in what was written, as it stands there, whatever the task reads from it; empty without one."""
    marker = task.text.answer_start.strip()
    if marker and marker not in prediction.text:
        return ""
    return (prediction.text.rpartition(marker)[2] if marker else prediction.text).strip()


def _written(prediction: Prediction, num_tokens: int) -> Written:
    likelihood = prediction.log_likelihoods[0] if prediction.log_likelihoods else None
    return Written(ended=bool(prediction.ended), log_likelihood=likelihood, num_tokens=num_tokens)


def _baselines(task: Task, examples: Sequence[Example]) -> dict[str, Captions]:
    references = [example.answer for example in examples]
    previous = [task.previous_caption(example) for example in examples]
    known = [text for text in previous if text is not None]
    texts = {"previous_caption": known} if len(known) == len(examples) else {}
    texts["another_reference"] = another(references)
    return {name: measure([[text] for text in references], written) for name, written in texts.items()}
