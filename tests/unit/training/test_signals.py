"""Being told to stop: the first signal sets a flag, the second one ends the process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from unspoken.training.signals import StopRequest, stop_requests

BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_sets_the_flag_and_the_program_goes_on(number):
    with stop_requests() as request:
        assert request.signal == 0
        os.kill(os.getpid(), number)
        time.sleep(0)  # handlers run between two bytecodes
        assert request.signal == number


def test_whoever_asked_is_told_at_once_that_it_was_heard(capfd, monkeypatch):
    with stop_requests():
        os.kill(os.getpid(), signal.SIGTERM)
    assert "the step is finished and saved first; a second signal ends all at once" in capfd.readouterr().err
    monkeypatch.setenv("RANK", "1")
    with stop_requests():
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err == ""


def test_the_exit_code_is_128_and_the_signal():
    assert StopRequest(signal.SIGTERM).exit_code == 143
    assert StopRequest(signal.SIGINT).exit_code == 130


@pytest.mark.parametrize("error", [None, KeyError])
def test_afterwards_the_handlers_are_those_from_before(error):
    def own(number, frame):
        pass

    before = {number: signal.signal(number, own) for number in BOTH}
    try:
        try:
            with stop_requests():
                assert all(signal.getsignal(number) is not own for number in BOTH)
                if error:
                    raise error
        except KeyError:
            pass
        assert [signal.getsignal(number) for number in BOTH] == [own, own]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_each_run_begins_without_a_request():
    with stop_requests():
        os.kill(os.getpid(), signal.SIGTERM)
    with stop_requests() as request:
        assert request.signal == 0


def test_ctrl_c_interrupts_as_usual_once_the_run_is_over():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with stop_requests():
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


PROGRAM = """
import time
from unspoken.training.signals import stop_requests
with stop_requests() as request:
    try:
        print("ready", flush=True)
        while not request.signal:
            time.sleep(0.01)
        print("stopping", flush=True)
        time.sleep(600)
    finally:
        print("never said: the second signal ends the process at once", flush=True)
"""


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGINT, signal.SIGTERM, 143),
    ],
)
def test_the_second_signal_ends_the_process_at_once(first, second, code):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(second)
        assert process.wait(20) == code
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
