"""Runs the released `Coconut` class on one request, under that code's own Python, and says what it did.

    venv/bin/python driver.py DIRECTORY < request.json > response.json

DIRECTORY holds the peer's `coconut.py`, which is imported from there and is no
part of this file. The request is one JSON object on stdin and the response is
one JSON object on stdout; whatever libraries print goes to stderr. A request
that cannot be served answers {"error": ...} and exits with status 1.

Run one request per process, so that the peak memory belongs to that request.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import statistics
import sys
import time
import traceback
from pathlib import Path
from typing import Any

BATCH_KEYS = ("input_ids", "attention_mask", "position_ids", "labels")
DROPOUTS = ("resid_pdrop", "embd_pdrop", "attn_pdrop")
# Causal masks that older checkpoints store as if they were parameters.
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")
REQUEST_KEYS = {
    "mode",
    "model",
    "ids",
    "batch",
    "threads",
    "seed",
    "attention",
    "warmup",
    "repeats",
    "rows",
    "max_new_tokens",
    "dump",
}


class BadRequest(Exception):
    """The request asks for something this driver cannot do."""


def main() -> int:
    # Keep the real stdout for the answer; everything else that prints to file
    # descriptor 1 from here on reaches stderr.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        if len(sys.argv) != 2:
            raise BadRequest("usage: driver.py DIRECTORY_OF_THE_PEER < request.json")
        response, status = serve(Path(sys.argv[1]), json.load(sys.stdin)), 0
    except Exception as problem:
        traceback.print_exc()
        response, status = {"error": f"{type(problem).__name__}: {problem}"}, 1
    json.dump(response, answer)
    answer.write("\n")
    answer.close()
    return status


def serve(peer: Path, request: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(request) - REQUEST_KEYS)
    if unknown:
        raise BadRequest(f"unknown keys in the request: {unknown}")
    modes = {"train": train, "generate": generate}
    if request.get("mode") not in modes:
        raise BadRequest(f"mode must be one of {sorted(modes)}")

    import torch
    import transformers

    torch.set_num_threads(int(request.get("threads", 2)))
    torch.manual_seed(int(request.get("seed", 0)))
    base = load_gpt2(request["model"], request.get("attention"))
    ids = request["ids"]
    model = load_class(peer)(base, ids["latent"], ids["start"], ids["end"], ids["eos"])
    batch = load_batch(request["batch"])
    before = peak_memory()
    response = {
        "mode": request["mode"],
        **modes[request["mode"]](model, batch, request),
        "loaded_rss_mb": before["peak_rss_mb"],
        "attention": base.config._attn_implementation,
        "parameters": sum(p.numel() for p in base.parameters()),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    return response


def load_class(peer: Path):
    source = peer / "coconut.py"
    if not source.is_file():
        raise BadRequest(f"no coconut.py in {peer}")
    spec = importlib.util.spec_from_file_location("peer_coconut", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Coconut


def load_gpt2(where: dict[str, Any], attention: str | None):
    """GPT-2 of the folder's config.json, dropout off, with the given weights."""
    import torch
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = Path(where["folder"])
    fields = json.loads((folder / "config.json").read_text())
    # A config written by a newer release may carry fields that this one would
    # misread, so only the shape and what changes the arithmetic is taken.
    kept = (
        "n_layer",
        "n_embd",
        "n_head",
        "n_inner",
        "vocab_size",
        "n_positions",
        "activation_function",
        "layer_norm_epsilon",
        "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx",
        "reorder_and_upcast_attn",
    )
    config = GPT2Config(
        **{name: fields[name] for name in kept if name in fields},
        **dict.fromkeys(DROPOUTS, 0.0),
        attn_implementation=attention,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)

    weights = Path(where.get("weights") or folder / "model.safetensors")
    state = {
        name: tensor.to(torch.float32)
        for name, tensor in load_file(str(weights)).items()
        if not name.endswith(MASK_BUFFERS)
    }
    embedding = state.get("transformer.wte.weight")
    head = state.pop("lm_head.weight", None)
    if head is not None and (embedding is None or not torch.equal(head, embedding)):
        raise BadRequest("lm_head.weight is not the token embedding: the head must be tied")
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if name != "lm_head.weight" and not name.endswith(MASK_BUFFERS)]
    if missing or unexpected:
        raise BadRequest(f"weights do not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model


def load_batch(given: dict[str, Any] | str) -> dict[str, Any]:
    import torch

    if isinstance(given, str):
        from safetensors.torch import load_file

        given = load_file(given)
    absent = [name for name in BATCH_KEYS if name not in given]
    if absent:
        raise BadRequest(f"the batch lacks {absent}")
    batch = {name: torch.as_tensor(given[name], dtype=torch.long).contiguous() for name in BATCH_KEYS}
    shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
    if len(set(shapes.values())) != 1 or batch["input_ids"].dim() != 2:
        raise BadRequest(f"batch tensors must share one (rows, columns) shape, got {shapes}")
    return batch


def train(model, batch: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Time forward and backward; the optimizer is not part of it."""
    model.train()

    def step() -> tuple[float, float, float, float]:
        model.zero_grad(set_to_none=True)
        start, cpu = time.perf_counter(), time.process_time()
        loss = model(**batch).loss
        middle = time.perf_counter()
        loss.backward()
        backward, cpu = time.perf_counter() - middle, time.process_time() - cpu
        return middle - start, backward, cpu, loss.item()

    for _ in range(int(request.get("warmup", 1))):
        step()
    runs = [step() for _ in range(int(request.get("repeats", 3)))]
    memory = peak_memory()  # before the dump, which needs more
    seconds = [forward + backward for forward, backward, *_ in runs]
    response = {
        "seconds": statistics.median(seconds),
        "forward_seconds": statistics.median(run[0] for run in runs),
        "backward_seconds": statistics.median(run[1] for run in runs),
        "all_seconds": seconds,
        # When the clock varies and this does not, other work had the processor.
        "all_cpu_seconds": [run[2] for run in runs],
        "loss": runs[-1][3],
        "shape": list(batch["input_ids"].shape),
        **memory,
    }
    if request.get("dump"):
        dump_step(model, batch, request["dump"])
        response["dump"] = request["dump"]
    return response


def dump_step(model, batch: dict[str, Any], path: str) -> None:
    """One more step, its loss, logits and gradients written for comparison."""
    from safetensors.torch import save_file

    model.zero_grad(set_to_none=True)
    outputs = model(**batch)
    outputs.loss.backward()
    tensors = {
        f"grad.{name}": parameter.grad
        for name, parameter in model.base_causallm.named_parameters()
        if parameter.grad is not None
    }
    tensors["logits"] = outputs.logits.detach()
    tensors["inputs_embeds"] = outputs.inputs_embeds.detach()
    tensors["loss"] = outputs.loss.detach().reshape(1)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def generate(model, batch: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Greedy generation, one row at a time: the peer takes no more at once.

    The peer ignores the attention mask here, so each row is passed without its
    masked columns.
    """
    import torch

    model.eval()
    wanted = int(request["max_new_tokens"])
    rows = [tokens[mask.bool()].unsqueeze(0) for tokens, mask in zip(batch["input_ids"], batch["attention_mask"])][
        : request.get("rows")
    ]

    def one(row, limit: int) -> tuple[float, list[int], int, float]:
        start, cpu = time.perf_counter(), time.process_time()
        with torch.no_grad():
            tokens = model.generate(row, torch.ones_like(row), max_new_tokens=limit)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        return seconds, tokens[0, row.shape[1] :].tolist(), model.gen_forward_cnt, cpu

    for _ in range(int(request.get("warmup", 1))):
        one(rows[0], min(wanted, 4))
    repeats = int(request.get("repeats", 1))
    runs = [[one(row, wanted) for _ in range(repeats)] for row in rows]
    per_row = [statistics.median(run[0] for run in each) for each in runs]
    return {
        "seconds": statistics.median(per_row),
        "row_seconds": per_row,
        "all_seconds": [run[0] for each in runs for run in each],
        "all_cpu_seconds": [run[3] for each in runs for run in each],
        "tokens": [each[0][1] for each in runs],
        "new_tokens": [len(each[0][1]) for each in runs],
        "forward_passes": [each[0][2] for each in runs],
        "prompt_tokens": [row.shape[1] for row in rows],
        **peak_memory(),
    }


def peak_memory() -> dict[str, float]:
    """Peak resident memory, by two accounts, in units of 2**20 bytes.

    `ru_maxrss` survives exec, so a process started by a large parent can begin
    with that parent's figure. VmHWM starts anew with the program, so it is the
    one to quote.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    high = next((line.split()[1] for line in status if line.startswith("VmHWM:")), None)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_rss_mb": (usage if high is None else int(high)) / 1024,
        "ru_maxrss_mb": usage / 1024,
    }


if __name__ == "__main__":
    sys.exit(main())
