"""Training step and generation beside a plain step, by shape and number of rows: time, memory, share of the peak."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from gpu_jobs.call import TRIES, Call, say

from unspoken.bench.bench import NEW_TOKENS
from unspoken.bench.cases import Case, batch, build, prompts
from unspoken.bench.clock import alternate, ratio
from unspoken.bench.compiled import CompiledDecoder
from unspoken.bench.flops import share_of_peak, training_flops
from unspoken.model.loss import head_logits, next_token_loss, trained_states

VARIANTS = ("ours", "checkpointed", "compiled")


def speed(call: Call, cases: Sequence[Case], rows: Sequence[int], repeats: int) -> None:
    """Measure every shape with every number of rows.

    Args:
        call: This call.
        cases: The shapes; weights are random.
        rows: Of a training step, and generated together.
        repeats: Rounds; figures are medians over them.
    """
    with call.results("bench", {"rows_of_a_batch": list(rows), "repeats": repeats}) as results:
        results["rows"] = []
        for case in cases:
            for count in rows:
                of = replace(case, rows=count, generated_rows=count)
                for variant in VARIANTS:
                    found = _once(call, of, variant, lambda of=of, name=variant: training(call, of, name, repeats))
                    results["rows"].append({"name": f"training step, {variant}", "case": case.name, **found})
                found = _once(call, of, "generation", lambda of=of: generation(call, of, repeats))
                results["rows"].append({"name": "generation", "case": case.name, **found})


def training(call: Call, case: Case, variant: str, repeats: int) -> dict[str, Any]:
    """A forward and a backward pass, beside the plain decoder on the same tokens in one pass, timed in turn.

    The head of both sees the labelled positions alone.
    """
    plain_model, model = build(case, checkpointed=variant == "checkpointed")
    plain_model.to(call.device)
    model.to(call.device)
    inputs: Any = {name: tensor.to(call.device) for name, tensor in batch(case).items()}
    decoder = CompiledDecoder(model) if variant == "compiled" else None

    def plain() -> None:
        plain_model.zero_grad()
        with _precision(call):
            output = plain_model.base_model(
                inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
            )
            states, targets = trained_states(output.last_hidden_state, inputs["labels"])
            loss: Any = next_token_loss(head_logits(plain_model.get_output_embeddings(), states, None), targets)
        loss.backward()
        _finish(call)

    def ours() -> None:
        model.zero_grad()
        with _precision(call):
            loss = model(**inputs).loss
        loss.backward()
        _finish(call)

    def compiled() -> None:
        assert decoder is not None
        with decoder.in_use():
            ours()

    act = ours if decoder is None else compiled
    started = time.perf_counter()
    try:
        peaks = {name: _peak_memory(call, action) for name, action in (("plain", plain), ("ours", act))}
        until_ready = time.perf_counter() - started
        samples = alternate({"plain": plain, "ours": act}, repeats)
    except torch.OutOfMemoryError:
        return _sizes(case) | {"outcome": "out of memory"}
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError) as error:
        call.check()  # the end of a call, too, looks like this from within the compiler
        if decoder is None:
            raise
        return _sizes(case) | {"outcome": f"not compiled: {type(error).__name__}"}
    seconds = statistics.median(samples["ours"])
    operations = training_flops(model, inputs)
    return _sizes(case) | {
        "outcome": "measured",
        "seconds": seconds,
        "ratio_to_plain": ratio(samples["ours"], samples["plain"]),
        "tokens_per_second": inputs["input_ids"].numel() / seconds,
        "operations": operations,
        "share_of_peak": share_of_peak(operations, seconds, call.peak),
        "peak_megabytes": peaks["ours"],
        "peak_megabytes_of_plain": peaks["plain"],
        "seconds_until_ready": until_ready,
        "samples": samples,
    }


def generation(call: Call, case: Case, repeats: int) -> dict[str, Any]:
    """Prompts with thoughts, then `NEW_TOKENS` tokens a row; the weights themselves have the precision."""
    _, model = build(case)
    model.to(call.device, torch.bfloat16 if call.precision == "bf16" else torch.float32).eval()
    ids = prompts(case, case.generated_rows).to(call.device)

    def generate() -> None:
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
        _finish(call)

    try:
        peak = _peak_memory(call, generate)
        seconds = statistics.median(samples := alternate({"ours": generate}, repeats)["ours"])
    except torch.OutOfMemoryError:
        return _sizes(case) | {"outcome": "out of memory"}
    return _sizes(case) | {
        "outcome": "measured",
        "seconds": seconds,
        "seconds_per_sequence": seconds / case.generated_rows,
        "tokens_per_second": NEW_TOKENS * case.generated_rows / seconds,
        "new_tokens": NEW_TOKENS,
        "peak_megabytes": peak,
        "samples": samples,
    }


def _once(call: Call, case: Case, what: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    def told() -> dict[str, Any]:
        say(f"measuring {what}, {case.name}, {case.rows} rows")
        return make()

    name = "-".join(case.name.lower().split())
    found: dict[str, Any] = call.once(f"bench/{name}-{case.rows}-{what}", told, tries=TRIES)
    return found


def _sizes(case: Case) -> dict[str, Any]:
    names = ("arch", "layers", "heads", "width", "vocabulary", "rows", "question", "thoughts", "answer")
    return {name: getattr(case, name) for name in names}


def _precision(call: Call) -> AbstractContextManager[Any]:
    """As in training: products in 16 bits over weights in 32."""
    return torch.autocast(call.device.type, torch.bfloat16, enabled=call.precision == "bf16")


def _finish(call: Call) -> None:
    """Wait for the device, which works behind Python's back."""
    if call.device.type == "cuda":
        torch.cuda.synchronize()


def _peak_memory(call: Call, action: Callable[[], None]) -> float | None:
    """Megabytes that tensors take at most during an action; None without a GPU."""
    if call.device.type != "cuda":
        action()
        return None
    torch.cuda.reset_peak_memory_stats()
    action()
    return torch.cuda.max_memory_allocated() / 2**20
