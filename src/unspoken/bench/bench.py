"""All measurements, one after the other, and their table."""

import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from unspoken import files
from unspoken.bench.cases import (
    BESIDE_EACH_OTHER,
    CASES,
    END,
    EYES,
    Case,
    batch,
    build,
    prompts,
    seeing,
    staged_prompts,
)
from unspoken.bench.clock import alternate, in_fresh_process, ratio
from unspoken.bench.reference import Reference, find_reference
from unspoken.data.collate import collate
from unspoken.data.loader import StagedDataset
from unspoken.data.tokenize import tokenize
from unspoken.data.tokenizer import thought_tokens, word_tokenizer
from unspoken.device import environment
from unspoken.methods.coconut import Coconut
from unspoken.model.loss import head_logits, next_token_loss, trained_states
from unspoken.records import Batch
from unspoken.tasks.prosqa import ProsQA
from unspoken.trajectories import Chance, rollout

NEW_TOKENS = 64
SIBLINGS = (1, 8)
Row = dict[str, Any]


def bench(
    out: Path,
    reference: Path | None = None,
    *,
    cases: Sequence[Case] = CASES,
    repeats: int = 5,
    staged_rows: int = 17_886,
    progress: Callable[[str], None] = lambda step: print(step, file=sys.stderr),  # noqa: T201
) -> str:
    """Measure, write `out`, and return the table.

    Args:
        out: JSON file; see docs/performance.md for its fields.
        reference: Folder of the released `coconut.py`, to run beside ours; the environment variable
            `UNSPOKEN_REFERENCE_PYTHON` names the Python it runs under.
        cases: The shapes.
        repeats: Rounds; every figure is a median over them.
        staged_rows: Rows of ProsQA to lay out.
        progress: Told what is being measured.

    Raises:
        RecipeError: The reference is asked for and cannot run.
    """
    peer = find_reference(reference)
    rows: list[Row] = []
    head = {
        "machine": environment(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["unspoken", *sys.argv[1:]]),
    }
    parts: list[tuple[str, Callable[[], list[Row]]]] = [("staging", partial(staging, staged_rows))]
    for case in cases:
        parts.append((f"training step, {case.name}", partial(training, case, peer, repeats)))
        parts.append((f"generation, {case.name}", partial(generation, case, peer, repeats)))
        parts.append((f"images, {case.name}", partial(images, case, repeats)))
    parts.append((f"trajectories, {BESIDE_EACH_OTHER.name}", partial(trajectories, BESIDE_EACH_OTHER, repeats)))
    for name, measure in parts:
        progress(name)
        rows += measure()
        files.write_json(out, {"rows": rows, **head})  # what is measured is kept, whatever comes next
    return table(rows)


def training(case: Case, peer: Reference | None, repeats: int) -> list[Row]:
    """Forward and backward, ours beside a plain step of the same decoder on the same tokens."""
    plain_model, ours_model = build(case)
    inputs, losses = batch(case), {}

    def plain() -> None:
        plain_model.zero_grad()
        mask, labels = inputs["attention_mask"], inputs["labels"]
        plain_model(input_ids=inputs["input_ids"], attention_mask=mask, labels=labels, use_cache=False).loss.backward()

    def plain_labelled() -> None:
        plain_model.zero_grad()
        output = plain_model.base_model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        states, targets = trained_states(output.last_hidden_state, inputs["labels"])
        loss: Any = next_token_loss(head_logits(plain_model.get_output_embeddings(), states, None), targets)
        loss.backward()

    def ours() -> None:
        ours_model.zero_grad()
        loss = ours_model(**inputs).loss
        loss.backward()
        losses["ours"] = loss.item()

    def checkpointed() -> None:
        ours_model.model.checkpoint_passes = True
        ours()
        ours_model.model.checkpoint_passes = False

    actions = {"plain": plain, "plain_labelled": plain_labelled, "ours": ours, "checkpointed": checkpointed}
    samples = alternate(actions, repeats)
    answer = None if peer is None else peer.run(case, inputs, {"mode": "train", "repeats": 3}, torch.get_num_threads())
    if answer is not None and abs(answer["loss"] - losses["ours"]) > 1e-5 * abs(answer["loss"]):
        raise AssertionError(
            f"the reference's loss is {answer['loss']}, ours {losses['ours']}: not the same computation"
        )
    found = []
    for name, variant in (("training step", "ours"), ("training step, checkpointed", "checkpointed")):
        found.append(
            _row(
                f"{name}, {case.name}",
                samples[variant],
                ratio_to_plain=ratio(samples[variant], samples["plain"]),
                ratio_to_plain_labelled=ratio(samples[variant], samples["plain_labelled"]),
                reference=answer,
                peak_mb=in_fresh_process("unspoken.bench.memory", case.name, variant) if case in CASES else None,
                loss=losses["ours"],
                samples=samples,
            )
        )
    return found


def generation(case: Case, peer: Reference | None, repeats: int) -> list[Row]:
    """Seconds per sequence of `NEW_TOKENS` tokens, in a batch and alone; the reference takes one row at a time."""
    _, model = build(case)
    model.eval()
    answer = None
    if peer is not None:
        request = {"mode": "generate", "max_new_tokens": NEW_TOKENS, "rows": 2}
        columns = prompts(case, 1).size(1)
        whole = batch(case)
        inputs = Batch(
            input_ids=whole["input_ids"][:2, :columns],
            attention_mask=whole["attention_mask"][:2, :columns],
            position_ids=whole["position_ids"][:2, :columns],
            labels=whole["labels"][:2, :columns],
        )
        answer = peer.run(case, inputs, request, torch.get_num_threads())
    found = []
    for rows in (case.generated_rows, 1):
        ids = prompts(case, rows)

        def generate(ids: torch.Tensor = ids) -> None:
            model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                min_new_tokens=NEW_TOKENS,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
            )

        samples = alternate({"ours": generate}, repeats)["ours"]
        per_sequence = [seconds / rows for seconds in samples]
        found.append(
            _row(f"generation of {NEW_TOKENS} tokens, batch {rows}, {case.name}", per_sequence, reference=answer)
        )
    return found


def images(case: Case, repeats: int) -> list[Row]:
    """Forward and backward with an image in front of each row, from features that are kept, beside the words alone."""
    steps = {}
    for name, eyes in (("words", None), ("images", EYES)):
        _, model = build(case, eyes=eyes)
        inputs = batch(case) if eyes is None else seeing(case, eyes)

        def step(model: Any = model, inputs: Batch = inputs) -> None:
            model.zero_grad()
            model(**inputs).loss.backward()

        steps[name] = step
    samples = alternate(steps, repeats)
    row = _row(f"training step, kept features of an image a row, {case.name}", samples["images"])
    return [{**row, "ratio_to_words": ratio(samples["images"], samples["words"]), "samples": samples}]


def trajectories(case: Case, repeats: int) -> list[Row]:
    """Seconds to draw one trajectory and eight of each question of a batch, timed in turn."""
    _, model = build(case, thoughts={"name": "gaussian"})
    model.eval()
    model.config.eos_token_id = END
    questions = staged_prompts(case)

    def draw(siblings: int) -> None:
        generator = torch.Generator(model.device).manual_seed(0)
        rollout(model, questions, siblings=siblings, chance=Chance(), generator=generator, max_new_tokens=case.answer)

    samples = alternate({str(siblings): partial(draw, siblings) for siblings in SIBLINGS}, 4 * repeats)
    return [
        _row(
            f"trajectories, {siblings} of each of {len(questions)} questions, {case.name}",
            samples[str(siblings)],
            ratio_to_one=ratio(samples[str(siblings)], samples["1"]),
        )
        for siblings in SIBLINGS
    ]


def staging(num_rows: int) -> list[Row]:
    """An epoch of ProsQA at stage 3: rows laid out from their tokens, then put into batches of 128."""
    task, method = ProsQA(train_rows=num_rows), Coconut()
    examples, _ = task.examples("train")
    tokenizer = word_tokenizer(task.words() or ())
    tokens = thought_tokens(tokenizer)
    tokenized = tokenize(examples, task.text, tokenizer)
    dataset = StagedDataset(tokenized, lambda row, epoch, rng: method.layout(row, 3, tokens, rng), seed=0)
    start = time.perf_counter()
    staged = [dataset[index] for index in range(len(dataset))]
    laid_out = time.perf_counter()
    for first in range(0, len(staged), 128):
        collate(staged[first : first + 128], pad_id=0)
    collated = time.perf_counter()
    return [
        _row(f"staging {num_rows:,} rows of ProsQA", [laid_out - start]),
        _row(f"collating {num_rows:,} rows of ProsQA", [collated - laid_out]),
    ]


def _row(
    name: str,
    seconds: list[float],
    *,
    ratio_to_plain: float | None = None,
    reference: dict[str, Any] | None = None,
    peak_mb: float | None = None,
    **more: Any,
) -> Row:
    median = statistics.median(seconds)
    return {
        "name": name,
        "seconds": median,
        "ratio_to_plain": ratio_to_plain,
        "ratio_to_reference": None if reference is None else reference["seconds"] / median,
        "peak_mb": peak_mb,
        "reference_seconds": None if reference is None else reference["seconds"],
        "reference_peak_mb": None if reference is None or peak_mb is None else reference["peak_rss_mb"],
        "all_seconds": seconds,
        "threads": torch.get_num_threads(),
        **more,
    }


def table(rows: Sequence[Row]) -> str:
    """The figures as lines of text."""

    def show(value: float | None, pattern: str) -> str:
        return "-" if value is None else format(value, pattern)

    first = f"{'':<66} {'seconds':>9} {'/ plain':>8} {'/ words':>8} {'/ one':>6} {'x faster than':>14} {'peak':>8}"
    lines = [f"{first} {'peak /':>10}"]
    lines.append(f"{'':<66} {'':>9} {'':>8} {'':>8} {'':>6} {'reference':>14} {'MB':>8} {'reference':>10}")
    for row in rows:
        peak, other = row["peak_mb"], row["reference_peak_mb"]
        lines.append(
            f"{row['name']:<66} {row['seconds']:>9.4f} {show(row['ratio_to_plain'], '.2f'):>8} "
            f"{show(row.get('ratio_to_words'), '.2f'):>8} "
            f"{show(row.get('ratio_to_one'), '.2f'):>6} "
            f"{show(row['ratio_to_reference'], '.1f'):>14} {show(peak, '.0f'):>8} "
            f"{show(None if other is None else peak / other, '.2f'):>10}"
        )
    return "\n".join(lines)
