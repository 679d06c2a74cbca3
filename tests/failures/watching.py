"""A process in which inputs are read under watch: time, memory, and whether any code is run."""

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing import WHOLE, Maker, Place
from mutations import CANARY, MODULE

from space import InputError

SECONDS = 1.0
HANGS = 60.0
MEGABYTES = 500
LONGEST = 2000
ENOUGH = 10
# What no reader has a reason to do; `open` and `import` are looked at more closely.
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "ctypes.dlopen",
    "socket.connect",
    "socket.getaddrinfo",
    "urllib.Request",
    "webbrowser.open",
)
# What an input would have run; the readers themselves compile nothing but types and constants.
PAYLOADS = (CANARY, MODULE, "system", "__reduce__")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Outcome:
    """What came of some inputs.

    Args:
        read: how many there were.
        accepted: how many of them the reader took.
        failures: what is wrong, a line or more each, with the number of the input.
        slowest: seconds, and the number of the input that took them.
        megabytes: by which the greatest memory grew.
    """

    read: int = 0
    accepted: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    megabytes: int = 0


class Hook:
    """Notes what Python's audit events say was run, imported or written; cannot be taken off."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.armed = False
        self.data = b""
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple) -> None:
        if not self.armed or len(self.seen) > ENOUGH or not self._foreign(event, args):
            return
        # Looking at what is noted must not be noted itself.
        self.armed = False
        self.seen.append(f"{event}{args!r}"[:300])
        self.armed = True

    def _foreign(self, event, args):
        if event in FORBIDDEN:
            return True
        if event in ("compile", "exec"):
            code = args[0]
            text = f"{getattr(code, 'co_names', '')}{getattr(code, 'co_consts', code)}"
            return any(each in text for each in PAYLOADS)
        if event == "import":
            top = str(args[0]).split(".")[0]
            return top == MODULE or (top not in sys.modules and top.encode() in self.data)
        if event == "open" and isinstance(args[0], str | bytes):
            writes = (args[2] or 0) & WRITING if isinstance(args[2], int) else False
            path = os.path.abspath(os.fsdecode(args[0]))  # noqa: PTH100 - a Path may be audited
            return writes and path != os.devnull and not path.startswith(self.folder)
        return False


def watched(maker: Maker, numbers: range, folder: Path) -> Outcome:
    """Read inputs in a process of its own; one that dies or hangs is a failure too."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    at = context.Value("q", -1)
    child = context.Process(target=_child, args=(maker, numbers, folder, theirs, at))
    child.start()
    theirs.close()
    last, since = -1, time.monotonic()
    while not ours.poll(1.0):
        if at.value != last:
            last, since = at.value, time.monotonic()
        if time.monotonic() - since > HANGS:
            child.kill()
            child.join()
            return Outcome(failures=[f"{maker.kind.name} {last}: hangs for {HANGS:g} seconds"])
    try:
        outcome: Outcome = ours.recv()
    except EOFError:
        child.join()
        what = f"ended its process with {child.exitcode}"
        outcome = Outcome(failures=[f"{maker.kind.name} {at.value}: {what}"])
    child.join()
    return outcome


def _child(maker, numbers, folder, pipe, at):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    folder.mkdir(parents=True)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    (folder / f"{MODULE}.py").write_text(f"open({CANARY!r}, 'w')\nclass Thing: pass\n")
    with (folder / "stderr").open("w") as file:
        os.dup2(file.fileno(), 2)
        pipe.send(_read_all(maker, numbers, folder, at))
    # What the parent has registered to do at its end is for the parent to do.
    os._exit(0)


def _read_all(maker, numbers, folder, at):
    place, outcome = Place(maker, folder / "place"), Outcome()
    hook = Hook(folder)
    for number in range(WHOLE - 1, 8 * WHOLE, WHOLE):
        # What is imported or compiled once is, with what nobody has damaged.
        place.read(number)
    base = _peak()
    for number in numbers:
        at.value = number
        hook.data, hook.seen = maker.input(number), []
        wrong = _wrong(place, number, hook, outcome)
        outcome.read += 1
        outcome.megabytes = _peak() - base
        if outcome.megabytes > MEGABYTES:
            wrong.append(f"{outcome.megabytes} MB more memory")
            base = _peak()
        outcome.failures += [f"{maker.kind.name} {number}: {each}" for each in wrong]
        if len(outcome.failures) >= ENOUGH:
            break
    for left in folder.rglob(CANARY):
        outcome.failures.append(f"{maker.kind.name}: {left} was written: code was run")
    if "Traceback" in (folder / "stderr").read_text(errors="replace"):
        outcome.failures.append(f"{maker.kind.name}: a traceback on stderr")
    return outcome


def _wrong(place, number, hook, outcome):
    """What is wrong with how one input was read."""
    wrong, seconds = _once(place, number, hook, outcome)
    if seconds > SECONDS:
        # The machine may have been busy with something else.
        seconds = min(seconds, _once(place, number, hook, Outcome())[1])
        if seconds > SECONDS:
            wrong.append(f"took {seconds:.1f} seconds")
    outcome.slowest = max(outcome.slowest, (seconds, number))
    return wrong + [f"ran code: {each}" for each in hook.seen]


def _once(place, number, hook, outcome):
    file = place.lay(number, hook.data)
    wrong, kind = [], place.maker.kind
    hook.armed, began, wall = True, time.process_time(), time.perf_counter()
    try:
        with contextlib.redirect_stdout(None):
            kind.read(place.folder)
        outcome.accepted += 1
    except InputError as error:
        hook.armed = False
        wrong += _bad_message(str(error), file, kind.named)
    except BaseException as error:
        hook.armed = False
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(each.filename).name}:{each.lineno}" for each in frames[:-6:-1])
        wrong.append(f"{type(error).__name__}: {str(error)[:200]!r} at {where}")
    finally:
        hook.armed = False
    # Of a machine that others use too, a tenth may be ours.
    return wrong, max(time.process_time() - began, (time.perf_counter() - wall) / 10)


def _bad_message(message, file, named):
    found = []
    # The unknown keys of a config are told all at once, a line each.
    several = "unknown key" in message or "must be a mapping of" in message
    lines = message.split("\n") if several else [message]
    if not all(line.isprintable() for line in lines):
        found.append(f"not one line: {message!r}")
    if named and not all(str(file.parent) in line for line in lines):
        found.append(f"names no file: {message!r}")
    if max(map(len, lines)) > LONGEST:
        found.append(f"{max(map(len, lines))} characters in a line: {message[:100]!r}")
    return found


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
