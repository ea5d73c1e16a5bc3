"""The released implementation as a peer: asked through `reference_driver.py`, under its own Python and libraries.

It is not part of this project and is not fetched by it; docs/performance.md says how to provide it.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from unspoken.bench.cases import Case, build
from unspoken.errors import RecipeError
from unspoken.records import Batch

PYTHON = "UNSPOKEN_REFERENCE_PYTHON"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the peer is.

    Attributes:
        code: Folder of its `coconut.py`.
        python: Interpreter of its environment.
    """

    code: Path
    python: Path

    def run(self, case: Case, inputs: Batch, request: dict[str, Any], threads: int) -> dict[str, Any]:
        """Give it the model of a case and a batch; what it measured.

        Raises:
            RecipeError: It failed.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            decoder, _ = build(case)
            decoder.config.to_json_file(folder / "config.json")
            state = {key: value.contiguous() for key, value in decoder.state_dict().items() if key != "lm_head.weight"}
            save_file(state, folder / "model.safetensors")
            tensors = {
                key: inputs[key].contiguous() for key in ("input_ids", "attention_mask", "position_ids", "labels")
            }
            save_file(tensors, folder / "batch.safetensors")
            ids = {"latent": case.vocabulary - 1, "start": case.vocabulary - 2, "end": case.vocabulary - 3, "eos": -1}
            full = {
                "model": {"folder": name},
                "ids": ids,
                "batch": str(folder / "batch.safetensors"),
                "threads": threads,
                **request,
            }
            driver = Path(__file__).with_name("reference_driver.py")
            done = subprocess.run(
                [self.python, driver, self.code], input=json.dumps(full), capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise RecipeError("unspoken bench", [f"the reference failed: {done.stdout.strip() or done.stderr[-500:]}"])
        response: dict[str, Any] = json.loads(done.stdout)
        return response


def find_reference(code: Path | None) -> Reference | None:
    """The peer at `code`, with the Python that the environment names; None without `code`.

    Raises:
        RecipeError: Something of it is missing.
    """
    if code is None:
        return None
    python = os.environ.get(PYTHON)
    problems = []
    if not (code / "coconut.py").is_file():
        problems.append(f"--reference: {code} holds no coconut.py; give the folder of the released code")
    if python is None or not Path(python).is_file():
        problems.append(f"{PYTHON}: {python or 'not set'}; set it to the Python in whose environment that code runs")
    if problems:
        raise RecipeError("unspoken bench", problems)
    return Reference(code, Path(str(python)))
