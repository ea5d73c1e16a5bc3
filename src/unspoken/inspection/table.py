"""An inspection as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(inspection: Mapping[str, Any]) -> str:
    """The examples, then the figures of each section."""
    lines: list[str] = []
    for example in inspection["examples"]:
        lines += [
            f"{example['id']}: {example['question']}",
            f"  expected {example['expected']!r}, wrote {example['text'].strip()!r}: {example['verdict']}",
        ]
        for number, thought in enumerate(example["thoughts"], 1):
            words = "  ".join(
                f"{word.strip() or repr(word)} {probability:.2f}" for word, probability in thought["words"]
            )
            held = thought["oracle"]
            known = f"   should hold {'/'.join(held['words'])}: rank {held['rank']}" if held else ""
            lines.append(f"  thought {number}: {words}{known}")
        for image in example["images"]:
            lines.append(f"  {image['path']}: {_looks(image['attention'])}")
        forced = " | ".join(repr(each["text"].strip()) for each in example["forced"])
        lines.append(f"  made to write after 0, 1 ... thoughts: {forced}")
    lines += ["", "lens       thought  top-1  95% interval    top-5  shuffled"]
    lines += [
        f"           {each['thought']:>7}  {each['top1']:.3f}  {_interval(each['interval'])}  {each['top5']:.3f}  "
        f"{each['shuffled_top1']:.3f}"
        for each in inspection["lens"]
    ]
    if inspection["frontier"]:
        lines += ["", "frontier   after k  AUC    95% interval    shuffled"]
        lines += [
            f"           {each['num_thoughts']:>7}  {each['auc']:.3f}  {_interval(each['interval'])}  "
            f"{each['shuffled_auc']:.3f} {_interval(each['shuffled_interval'])}"
            for each in inspection["frontier"]
        ]
    geometry = inspection["geometry"]
    lines += ["", "geometry   thought   norm  cosine  effective rank"]
    lines += [
        f"           {norm['thought']:>7}  {norm['mean']:>5.2f}  {cosine:>6.3f}  {rank:>14.1f}"
        for norm, cosine, rank in zip(geometry["norms"], geometry["cosine"], geometry["effective_rank"], strict=True)
    ]
    lines.append(f"           embeddings {geometry['embedding_norm']['mean']:>4.2f}")
    if inspection["probes"]:
        lines += ["", "probes     thought  target         accuracy  question  majority"]
        lines += [
            f"           {each['thought']:>7}  {each['target']:<13}  {each['accuracy']:>8.3f}  "
            f"{each['control_accuracy']:>8.3f}  {each['majority']:>8.3f}"
            for each in inspection["probes"]
        ]
    lines += ["", "outcomes   after k  accuracy  words  classes"]
    lines += [
        f"           {each['num_thoughts']:>7}  {each['accuracy']:>8.3f}  {each['tokens_per_answer']:>5.1f}  "
        + ", ".join(f"{name} {share:.2f}" for name, share in each["classes"].items())
        for each in inspection["outcomes"]
    ]
    tracing = inspection["tracing"]
    if tracing:
        names = tracing["positions"]
        lines += ["", "tracing    " + " " * 11 + "  ".join(f"{name:>5}" for name in names)]
        lines += [
            f"           {layer:<10} "
            + "  ".join(f"{share:>{max(len(name), 5)}.2f}" for name, share in zip(names, row, strict=True))
            for layer, row in zip(tracing["layers"], tracing["effect"], strict=True)
        ]
    lines += ["", *(f"left out: {each['section']}: {each['reason']}" for each in inspection["omitted"])]
    return "\n".join(lines).rstrip()


def _looks(attention: Sequence[Sequence[float]] | None) -> str:
    """How much of its attention each thought and the answer pay to an image."""
    if attention is None:
        return "this decoder does not show its attention"
    names = [*(f"thought {number}" for number in range(1, len(attention))), "the answer"]
    shares = ", ".join(f"{name} {sum(slots):.2f}" for name, slots in zip(names, attention, strict=True))
    return f"looked at by {shares}"


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"
