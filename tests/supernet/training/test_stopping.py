"""Signals that a training waits for, in this process; what whole commands do is in the ledger."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_resuming import RECIPE, run
from training_toys import random_loader, same_weights, toy_supernet, toy_task

from space.utils.signals import (
    Terminated,
    defer_signals,
    raise_on_sigterm,
    request_stop,
    restore_handlers,
)
from supernet.data import loaders
from supernet.training.sandwich import Sandwich
from supernet.training.train_supernet import SupernetRecipe, train_supernet

HERE = Path(__file__).parents[1]
STEPS = 4
WHAT_FOLLOWS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


@pytest.fixture(autouse=True)
def handlers():
    """As a shell starts a command, and as it was afterwards."""
    before = {number: signal.getsignal(number) for number in WHAT_FOLLOWS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with raise_on_sigterm():
        usual = {number: signal.getsignal(number) for number in WHAT_FOLLOWS}
        yield
        assert {number: signal.getsignal(number) for number in WHAT_FOLLOWS} == usual
    for number, handler in before.items():
        signal.signal(number, handler)


def position(folder):
    at = torch.load(folder / "checkpoint.pt", weights_only=True)["position"]
    return at["epoch"], at["step"]


def signalled(monkeypatch, at, *numbers):
    """Signals during a step, before it has done anything."""
    call, calls = Sandwich.__call__, []

    def signalling(self, *args):
        calls.append(None)
        for number in numbers if len(calls) == at else ():
            signal.raise_signal(number)
        return call(self, *args)

    monkeypatch.setattr(Sandwich, "__call__", signalling)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("number", WHAT_FOLLOWS)
@pytest.mark.parametrize("steps", [1, 4, 6])
def test_the_step_ends_and_a_checkpoint_is_left(tmp_path, monkeypatch, whole, number, steps):
    recipe = replace(RECIPE, save_minutes=60)
    with monkeypatch.context() as patch:
        signalled(patch, steps, number)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(tmp_path, recipe=recipe)
    assert caught.type is WHAT_FOLLOWS[number]
    epoch, step = position(tmp_path)
    assert epoch * STEPS + step == steps
    assert same_weights(whole, run(tmp_path))


def test_a_second_ctrl_c_leaves_at_once(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        signalled(patch, 3, signal.SIGINT, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert position(tmp_path) == (0, 2)
    assert same_weights(whole, run(tmp_path))


@pytest.mark.parametrize("number", WHAT_FOLLOWS)
def test_judging_is_left_at_once_and_the_epoch_is_not_lost(tmp_path, monkeypatch, whole, number):
    reached = []

    def judging(held_out, archs, model):
        signal.raise_signal(number)
        reached.append(model)

    with monkeypatch.context() as patch:
        patch.setattr("supernet.training.train_supernet._evaluate", judging)
        with pytest.raises(WHAT_FOLLOWS[number]):
            run(tmp_path)
    assert reached == []
    assert position(tmp_path) == (0, STEPS)
    assert same_weights(whole, run(tmp_path))
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("patient", [False, True])
def test_only_a_launcher_may_repeat_ctrl_c(patient):
    done = []

    def twice():
        with defer_signals(patient=patient):
            for number in (signal.SIGINT, signal.SIGINT):
                signal.raise_signal(number)
                done.append(number)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert len(done) == (2 if patient else 1)


def test_in_a_thread_it_stops_after_the_step_when_it_is_asked(tmp_path, monkeypatch, whole):
    call, calls, met = Sandwich.__call__, [], []

    def asking(self, *args):
        calls.append(None)
        if len(calls) == 3:
            request_stop()
        return call(self, *args)

    def training():
        try:
            run(tmp_path)
        except Terminated as error:
            met.append(error)

    with monkeypatch.context() as patch:
        patch.setattr("space.utils.signals._stop_requested", threading.Event())
        patch.setattr(Sandwich, "__call__", asking)
        thread = threading.Thread(target=training)
        thread.start()
        thread.join()
    assert len(met) == 1
    assert position(tmp_path) == (0, 3)
    assert same_weights(whole, run(tmp_path))


def test_with_a_users_own_loader_it_leaves_at_once(tmp_path, monkeypatch):
    signalled(monkeypatch, 2, signal.SIGTERM)
    recipe = SupernetRecipe(epochs=1, random_archs=0)
    with pytest.raises(Terminated):
        train_supernet(
            toy_supernet(),
            random_loader(),
            task=toy_task(),
            recipe=recipe,
            folder=tmp_path,
            quiet=True,
        )
    assert not (tmp_path / "checkpoint.pt").exists()


def test_handlers_of_the_users_own_stay():
    heard = []
    before = {number: signal.getsignal(number) for number in WHAT_FOLLOWS}
    try:
        for number in WHAT_FOLLOWS:
            signal.signal(number, lambda number, _: heard.append(number))
        with raise_on_sigterm(), defer_signals() as stop:
            for number in WHAT_FOLLOWS:
                signal.raise_signal(number)
            assert not stop.requested
        assert heard == list(WHAT_FOLLOWS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_who_takes_the_handlers_gives_them_back():
    before = [signal.getsignal(number) for number in WHAT_FOLLOWS]
    with restore_handlers():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(signal.SIGTERM))
    assert [signal.getsignal(number) for number in WHAT_FOLLOWS] == before


def test_other_threads_leave_signals_alone():
    seen = []

    def training():
        with raise_on_sigterm(), defer_signals():
            seen.extend(signal.getsignal(number) for number in WHAT_FOLLOWS)

    before = [signal.getsignal(number) for number in WHAT_FOLLOWS]
    thread = threading.Thread(target=training)
    thread.start()
    thread.join()
    assert seen == before


def ended(script):
    """A script of somebody's, once it is over."""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_script_that_handles_no_sigterm_still_ends_by_it():
    script = (
        "import signal\n"
        "from space.utils.signals import defer_signals\n"
        "with defer_signals() as stop:\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('waited for', flush=True)\n"
    )
    done = ended(script)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "waited for\n"), done.stderr


def test_processes_that_load_leave_signals_to_the_one_that_trains(tmp_path, monkeypatch, whole):
    """Terminals and schedulers signal all of them."""
    call, told = Sandwich.__call__, []

    def signalling(self, *args):
        for child in multiprocessing.active_children() if len(told) < 2 else ():
            for number in WHAT_FOLLOWS:
                os.kill(child.pid, number)
            told.append(child)
        return call(self, *args)

    def slow_start(exiting, worker):
        time.sleep(0.5 * worker)
        ignore(exiting, worker)

    ignore = loaders._ignore_signals
    # The second one is still starting when the first batch is there.
    monkeypatch.setattr(loaders, "_ignore_signals", slow_start)
    monkeypatch.setattr(Sandwich, "__call__", signalling)
    assert same_weights(whole, run(tmp_path, workers=2))
    assert len(told) >= 2  # that of an evaluation may still be ending


@pytest.mark.slow
def test_a_script_ends_after_an_error_of_processes_that_load():
    """The error holds on to the loader, and so to those processes, until all else is over."""
    script = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from supernet.data.loaders import Images\n"
        "from training_toys import toy_data, toy_supernet\n"
        "data = toy_data(toy_supernet(), 2)\n"
        "def broken(*_): raise ValueError('broken')\n"
        "Images.__getitem__ = broken\n"
        "try: next(data.train.epoch(0))\n"
        "except ValueError as error: print(str(error).splitlines()[-1])\n"
    )
    done = ended(script)
    assert (done.returncode, done.stdout) == (0, "ValueError: broken\n"), done.stderr


@pytest.mark.parametrize("number", WHAT_FOLLOWS)
def test_what_is_heard_at_the_very_end_is_not_lost(monkeypatch, number):
    @contextmanager
    def late():
        with restore_handlers():
            yield
            signal.raise_signal(number)

    with raise_on_sigterm():
        monkeypatch.setattr("space.utils.signals.restore_handlers", late)
        with pytest.raises(WHAT_FOLLOWS[number]), defer_signals():
            pass
