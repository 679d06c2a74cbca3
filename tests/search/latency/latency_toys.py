"""A device that is made up: it takes so long for each term, without a measurement."""

from search.latency.conditions import Conditions
from search.latency.fit import Error
from search.latency.table import LatencyTable, MeasuredArch
from search.latency.terms import count_terms, list_terms

CONDITIONS = Conditions("a made-up device", 8, "float32", compiled=False, libraries="torch 2.0")
BLOCK_MS = {
    "own": 2.0,
    "shared": 1.5,
    "kept map": 0.2,
    "map selector": 0.7,
    "cls selector": 0.1,
    "random selector": 0.05,
}


def ms_of_term(term):
    """Milliseconds; with a step as devices have them, so that no curve goes through all."""
    share = term.tokens / 196
    step = 0.05 if term.tokens % 3 else 0.0
    return BLOCK_MS.get(term.operator, 0.3) * (0.1 + 0.5 * share + 0.4 * share**2 + step)


def ms_of_arch(arch, shape):
    return sum(count * ms_of_term(term) for term, count in count_terms(arch, shape).items())


def table_of(space, name="toy", error=Error(0.01, 0.02, 0.99, 40)):  # noqa: B008
    """The table of the made-up device, exact."""
    archs = [space.largest(), space.smallest()]
    return LatencyTable(
        name,
        CONDITIONS,
        ms_of_arch(space.largest(), space.shape),
        error,
        {term: ms_of_term(term) for term in list_terms(space)},
        tuple(
            MeasuredArch(a, ms_of_arch(a, space.shape), 0.01, bool(i)) for i, a in enumerate(archs)
        ),
        space.shape,
    )
