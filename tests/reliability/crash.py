"""Dying at a chosen write call: every change of a file that a save makes is a numbered point, before and half done.

A trial is a forked child that trains and kills itself with SIGKILL at one point, and a second child that resumes.
"""

import hashlib
import os
import signal
import sys
import traceback
from pathlib import Path

import safetensors.torch
import torch
import transformers.modeling_utils

FILE_EVENTS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}


class CrashPoints:
    """Counts the write calls under a folder, and dies at one of them.

    Args:
        folder: Only changes below it count.
        die_at: Number of the point to die at, counted from 1; 0 only counts.
    """

    def __init__(self, folder: Path, die_at: int = 0) -> None:
        self.folder, self.die_at, self.names = str(folder), die_at, []

    def arm(self) -> None:
        """Watch from now on, for the rest of the process."""
        sys.addaudithook(self._audit)
        real_fsync, real_save, real_save_file = os.fsync, torch.save, safetensors.torch.save_file

        def fsync(descriptor):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._reach("fsync", path)
            real_fsync(descriptor)

        def save(value, path, *args, **kwargs):
            self._reach("torch.save", path)
            real_save(value, path, *args, **kwargs)
            self._reach("torch.save half", path, halve=True)

        def save_file(tensors, path, *args, **kwargs):
            self._reach("save_file", path)
            real_save_file(tensors, path, *args, **kwargs)
            self._reach("save_file half", path, halve=True)

        os.fsync, torch.save = fsync, save
        transformers.modeling_utils.safe_save_file = save_file

    def _audit(self, event, arguments):
        if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            self._reach(f"open {arguments[1]}", arguments[0])
        elif event in FILE_EVENTS:
            self._reach(event, arguments[0])

    def _reach(self, name, path, *, halve=False):
        path = os.fspath(path) if not isinstance(path, int) else ""
        if not str(path).startswith(self.folder):
            return
        self.names.append(f"{name} {Path(str(path)).name}")
        if len(self.names) == self.die_at:
            if halve:
                os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(action):
    """Run `action` in a forked process; its text and how it ended (0, or minus the signal)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            text = str(action())
            code = 0
        except BaseException:
            text, code = traceback.format_exc(), 1
        os.write(writer, text.encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return text, os.waitstatus_to_exitcode(status)


def weights_of(run: Path) -> str:
    """sha256 of the trained weights."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
