"""Whatever a file holds: it is read, or refused in one line that names it; nothing else happens.

An input that failed is made and read again by `again(KIND, NUMBER, an empty folder)`.
"""

import pytest
from fuzzing import WHOLE, Maker, Place
from kinds import KINDS, example_of, make_examples
from watching import watched

pytestmark = pytest.mark.slow

FULL = 100_000
SAMPLE = 2_000
CHUNK = 2_500


@pytest.fixture(scope="module")
def makers(tmp_path_factory):
    return _makers(tmp_path_factory.mktemp("fuzz"))


def _makers(folder):
    runs = make_examples(folder / "runs")
    return {
        name: Maker(
            kind, [example_of(kind, run, folder / name / str(i)) for i, run in enumerate(runs)]
        )
        for name, kind in KINDS.items()
    }


def again(name, number, folder):
    """Make one input and read it, with nothing between it and whoever looks."""
    Place(_makers(folder)[name], folder / "place").read(number)


@pytest.mark.parametrize("name", KINDS)
def test_every_input_is_read_or_refused_in_a_line(makers, tmp_path, ledger, name):
    count = ledger.times(full=FULL, few=SAMPLE) * KINDS[name].share // 100
    found = [
        watched(makers[name], range(first, min(first + CHUNK, count)), tmp_path / str(first))
        for first in range(0, count, CHUNK)
    ]
    failures = [each for outcome in found for each in outcome.failures]
    assert not failures, "\n".join(failures)
    assert sum(outcome.read for outcome in found) == count
    # What is whole is accepted, and most of the others differ in what counts.
    assert count // WHOLE <= sum(outcome.accepted for outcome in found) < 0.9 * count
    slowest = max(outcome.slowest[0] for outcome in found)
    megabytes = max(outcome.megabytes for outcome in found)
    ledger.add(
        60 + list(KINDS).index(name) / 100,
        f"fuzzed: {name}",
        count,
        told=f"a line, or accepted; no code run; {slowest:.1f} s, {megabytes} MB at most",
    )


def test_the_shares_of_all_kinds_are_the_whole():
    assert sum(kind.share for kind in KINDS.values()) == 100
    assert all(FULL * kind.share % 100 == 0 for kind in KINDS.values())
