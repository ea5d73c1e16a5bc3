"""Peak memory of three training steps in a process of their own: `python -m unspoken.bench.memory CASE VARIANT`."""

import json
import sys

from unspoken.bench.cases import CASES, Case, batch, build
from unspoken.bench.clock import peak_megabytes

VARIANTS = ("ours", "checkpointed", "plain")


def measure(case: Case, variant: str) -> float:
    """Megabytes at the peak, model and libraries included."""
    plain, ours = build(case, checkpointed=variant == "checkpointed")
    inputs = batch(case)
    for _ in range(3):
        ours.zero_grad()
        if variant == "plain":
            plain(input_ids=inputs["input_ids"], labels=inputs["labels"], use_cache=False).loss.backward()
        else:
            ours(**inputs).loss.backward()
    return peak_megabytes()


if __name__ == "__main__":
    chosen = next(case for case in CASES if case.name == sys.argv[1])
    json.dump(measure(chosen, sys.argv[2]), sys.stdout)
