"""The validation of a run, whatever the loop: it answers as it will when it is used."""

from transformers import PreTrainedTokenizerBase

from unspoken.data.tokenizer import thought_tokens
from unspoken.evaluation.predict import predict
from unspoken.evaluation.statistics import aggregate
from unspoken.model import LatentForCausalLM
from unspoken.prepare import Rows
from unspoken.recipe import Recipe


def validate(
    recipe: Recipe, model: LatentForCausalLM, tokenizer: PreTrainedTokenizerBase, rows: Rows, stage: int
) -> dict[str, float]:
    """Accuracy on the validation rows at a stage, by generation."""
    limit = recipe.train.validation_rows or len(rows.examples)
    tokens = thought_tokens(tokenizer)
    predictions = predict(
        model,
        tokenizer,
        recipe.task,
        rows.examples[:limit],
        [recipe.method.prompt(row, stage, tokens) for row in rows.tokenized[:limit]],
        batch_size=recipe.evaluate.batch_size,
        max_new_tokens=recipe.evaluate.max_new_tokens,
    )
    figures = aggregate(predictions)
    return {
        "accuracy": figures.accuracy,
        "accuracy_low": figures.interval[0],
        "accuracy_high": figures.interval[1],
        "n": figures.n,
        "tokens_per_answer": figures.tokens_per_answer,
        "thoughts_per_answer": figures.thoughts_per_answer,
    }
