"""Checkpoints of a run: which ones count, which one to resume from, which ones to keep."""

import logging
import re
from pathlib import Path
from typing import Any

from unspoken import files
from unspoken.device import rank
from unspoken.errors import CheckpointError
from unspoken.run_directory import CHECKPOINTS
from unspoken.training.signals import Stopped, StopRequest

logger = logging.getLogger(__name__)

PREFIX = "checkpoint-"
WITHOUT_EFFECT = {f"recipe.train.{name}" for name in ("report_to", "log_every", "workers", "keep_checkpoints")}
"""Settings that change nothing in what is learned: a run may go on with others."""


def step_of(checkpoint: Path) -> int:
    """Optimizer steps done when it was written."""
    return int(checkpoint.name.removeprefix(PREFIX))


def checkpoints(run: Path) -> list[Path]:
    """Every folder that is named like a checkpoint, oldest first, whether it is complete or not."""
    folder = run / CHECKPOINTS
    named = [path for path in folder.glob(f"{PREFIX}*") if re.fullmatch(rf"{PREFIX}\d+", path.name) and path.is_dir()]
    return sorted(named, key=step_of)


def newest_valid(run: Path) -> Path | None:
    """The newest checkpoint whose manifest and sha256 are right, when it has been said which newer ones are not.

    Returns:
        The checkpoint; None when there are none at all.

    Raises:
        CheckpointError: There are checkpoints, and none is valid: to begin anew would be to lose them unasked.
    """
    refused = []
    for path in reversed(checkpoints(run)):
        try:
            files.verify(path)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        if rank() == 0:
            for reason in refused:
                logger.warning("%s is passed over: %s", path.parent, reason)
        return path
    if refused:
        listed = "\n  ".join(refused)
        raise CheckpointError(
            f"{run} holds no valid checkpoint:\n  {listed}\n"
            f"put back a copy of one, or remove {run / CHECKPOINTS} to begin anew"
        )
    return None


def stopped(run: Path, request: StopRequest) -> Stopped:
    """The end of a run that was told to stop, when it has been said where it can be continued."""
    if rank() == 0:
        saved = checkpoints(run)
        what = f"{saved[-1].name} is saved; continue" if saved else "nothing is saved yet; begin again"
        logger.warning("%s: %s with --resume", run, what)
    return Stopped(request.exit_code)


def rotate(run: Path, keep: int, best_step: int | None) -> None:
    """Delete the oldest valid checkpoints beyond `keep`; the newest and the best stay."""
    valid = [path for path in checkpoints(run) if (path / files.MANIFEST).is_file()]
    removable = [path for path in valid[:-1] if step_of(path) != best_step]
    for path in removable[: max(len(valid) - keep, 0)]:
        files.remove(path)


def refuse_differences(recorded: dict[str, Any], current: dict[str, Any], run: Path) -> None:
    """Compare what a run was started with and what it is to be resumed with.

    Raises:
        CheckpointError: Lists every difference that has an effect on what is learned.
    """
    before, now = _flat(recorded), _flat(current)
    differences = [
        f"{key}: was {before.get(key)!r}, is now {now.get(key)!r}"
        for key in sorted((before.keys() | now.keys()) - WITHOUT_EFFECT)
        if before.get(key) != now.get(key)
    ]
    if differences:
        listed = "\n  ".join(differences)
        raise CheckpointError(
            f"{run} was started with other settings or data:\n  {listed}\n"
            "resume with the old ones, or choose another --out"
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, inner in value.items():
        flat.update(_flat(inner, f"{prefix}.{key}" if prefix else str(key)))
    return flat
