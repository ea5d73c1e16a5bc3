"""What a plan says of an adversary."""

from unspoken.config import AdversarySettings, EmbeddingHeadsSettings
from unspoken.plan.build import Plan
from unspoken.plan.drawn import drawn_costs
from unspoken.plan.heads import space_size


def adversary_lines(plan: Plan) -> list[str]:
    """How its judgement reaches the model, how much it draws, how large it is; nothing where there is none."""
    settings, heads = plan.recipe.adversary, plan.recipe.model.embedding_heads
    if settings is None:
        return []
    matching = f", feature matching {settings.feature_matching:g}" if settings.feature_matching else ""
    lines = [
        f"{settings.signal}, weight {settings.weight:g}{matching}; false captions: {_shown(settings)}",
        _drawn(plan, settings),
    ]
    if settings.judge == "discriminator" and heads is not None:
        size = _num_parameters(settings, heads, plan.vocabulary)
        learns = "every step" if settings.every == 1 else f"every {settings.every} steps"
        known = "" if size is None else f" of {size:,} parameters"
        lines.append(f"a discriminator{known}, outside of the model, learns {learns}")
    return lines


def _shown(settings: AdversarySettings) -> str:
    if settings.judge == "clip_margin":
        return "none, CLIP judges"
    return "generated, and for one half hard" if settings.negatives == "generated_and_hard" else "generated"


def _drawn(plan: Plan, settings: AdversarySettings) -> str:
    """Captions that are drawn, and what of that is in the estimate."""
    batch, rows = plan.recipe.train.batch_size, plan.rows
    if settings.signal == "policy_gradient":
        drawn = f"{batch * settings.samples:,} captions are drawn a step"
    elif settings.fakes == "cached":
        drawn = (
            f"{settings.cached_rows if rows is None else min(settings.cached_rows, rows):,} captions are drawn an epoch"
        )
    else:
        drawn = f"{batch:,} captions are drawn {'a step' if settings.every == 1 else f'every {settings.every} steps'}"
    counted = "" if plan.estimate is None else "; they are in the estimate as if all were that long, the judge is not"
    return f"{drawn}, of at most {drawn_costs(plan.recipe, rows or 0).words:,} tokens{counted}"


def _num_parameters(settings: AdversarySettings, heads: EmbeddingHeadsSettings, vocabulary: int | None) -> int | None:
    """Parameters of the discriminator, counted without storage; None where its space or the vocabulary is not known."""
    import torch

    from unspoken.adversary.build import new_discriminator

    size = space_size(heads)
    if size is None or vocabulary is None:
        return None
    with torch.device("meta"):
        discriminator = new_discriminator(settings, size, vocabulary, 0)
    return sum(parameter.numel() for parameter in discriminator.parameters())
