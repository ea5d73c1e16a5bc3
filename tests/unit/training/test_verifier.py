"""math-verify in its process: what it finds equal, what it does to the process when it goes wrong, and its limits."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unspoken.errors import RecipeError
from unspoken.training import verifier as verifier_module
from unspoken.training.verifier import MAX_CHARACTERS, Verifier

WORKER = Path(verifier_module.__file__).with_name("math_worker.py")


@pytest.fixture(scope="module")
def verifier():
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra eval)")
    with Verifier(cpu_seconds=1.0) as found:
        yield found


@pytest.mark.parametrize(
    ("gold", "text", "verdict"),
    [
        ("72", "48/2=24, 48+24=72 #### 72", "equal"),
        ("72", "#### 71", "different"),
        ("72", "#### 5 #### 72", "equal"),
        ("72", "#### 72 #### 5", "different"),
        ("72", "The answer is 72.", "equal"),
        ("72", "\\boxed{72}", "equal"),
        ("1080", "#### $1,080.00", "equal"),
        ("-3", "#### -3", "equal"),
        ("-3", "#### 3", "different"),
        ("0.5", "$\\frac{1}{2}$", "equal"),
        ("1/3", "#### 1/3", "equal"),
        # more lenient than the official match, as documented
        ("72", "72%", "equal"),
        ("72", "70+2", "equal"),
        ("72", "no number here", "unread"),
        ("72", "", "unread"),
        ("72", "٧٢", "unread"),
    ],
)
def test_what_is_equal(verifier, gold, text, verdict):
    assert verifier.judge(gold, text) == verdict


def test_it_reads_the_end_of_a_long_text(verifier):
    assert verifier.judge("72", "5 " * MAX_CHARACTERS + "72") == "equal"
    assert verifier.judge("72", "72 " + "x " * MAX_CHARACTERS) == "unread"


def test_a_judgement_that_would_not_end_is_ended_and_counted(verifier):
    before, start = verifier.num_failed, time.monotonic()
    assert verifier.judge("72", "9**9**9**9") == "failed"
    assert time.monotonic() - start < 10
    assert verifier.num_failed == before + 1
    assert verifier.judge("72", "72") == "equal"


def test_it_judges_in_any_thread(verifier):
    found = []
    thread = threading.Thread(target=lambda: found.append(verifier.judge("72", "72.0")))
    thread.start()
    thread.join()
    assert found == ["equal"]


def test_no_secret_of_the_environment_goes_with_it(verifier, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary")
    with Verifier() as other:
        environment = Path(f"/proc/{other._process.pid}/environ")
        if not environment.is_file():
            pytest.skip("this system shows no environments")
        content = environment.read_bytes()
    assert b"PATH=" in content
    assert b"canary" not in content


def test_a_process_that_has_ended_is_an_error_and_no_verdict(verifier):
    other = Verifier()
    other._process.kill()
    other._process.wait()
    with pytest.raises(RuntimeError, match="the process of math-verify said ''"):
        other.judge("1", "1")


def test_the_process_ends_with_the_one_that_started_it(verifier):
    script = (
        "import os\nfrom unspoken.training.verifier import Verifier\n"
        "print(Verifier()._process.pid, flush=True)\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    pid, deadline = int(done.stdout), time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").is_file() and b"math_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_math_verify_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "math_verify.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RecipeError, match=r"math-verify is not installed; pip install 'unspoken\[eval\]'"):
        Verifier()


def test_a_judge_that_cannot_work_is_refused_and_does_not_say_wrong(tmp_path, monkeypatch):
    (tmp_path / "math_verify.py").write_text("def parse(text, **_): return [text]\ndef verify(*_, **__): 1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RecipeError, match=r"math-verify started and did not find 1 equal to 1"):
        Verifier()


DEEDS = {
    "starting a shell": "os.system('touch marker')",
    "starting a program": "subprocess.run(['touch', 'marker'])",
    "replacing itself": "os.execvp('touch', ['touch', 'marker'])",
    "forking": "os.fork()",
    "writing a file": "open('marker', 'w')",
    "appending to a file": "open('given', 'a')",
    "creating a file": "os.open('marker', os.O_CREAT)",
    "removing a file": "os.remove('given')",
    "moving a file": "os.rename('given', 'marker')",
    "making a folder": "os.mkdir('marker')",
    "opening a socket": "socket.socket()",
    "loading a library": "ctypes.CDLL('libc.so.6')",
    "killing another": "os.kill(os.getppid(), 9)",
    "going on when refused": "\n try: os.system('touch marker')\n except BaseException: os._exit(0)",
    "computing on": "9**9**9",
    "sleeping": "time.sleep(60)",
    "filling the memory": "bytes(2**31)",
    "recursing": "(f := lambda: f())()",
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_a_confined_process_can_do_no_harm(tmp_path, deed):
    (tmp_path / "given").write_text("as it was")
    script = (
        "import ctypes, importlib.util, os, socket, subprocess, sys, time\n"
        f"spec = importlib.util.spec_from_file_location('math_worker', {str(WORKER)!r})\n"
        "worker = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(worker)\n"
        "def compare(gold, text):\n"
        f" {deed}\n"
        " return worker.EQUAL\n"
        "honest, worker.compare = worker.compare, lambda *_: worker.EQUAL\n"
        "assert worker.judge('1', '1', 0.3, 2**30) == 'equal'\n"
        "worker.compare = compare\n"
        "print(worker.judge('1', '1', 0.3, 2**30))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ}
    )
    assert done.stdout.strip() == "failed", done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["given"]
    assert (tmp_path / "given").read_text() == "as it was"
