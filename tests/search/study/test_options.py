"""Options of a search that cannot be."""

import pytest

from search import SearchOptions
from space import InputError


@pytest.mark.parametrize("workers", [-1, 1.5, True, "2"])
def test_a_number_of_workers_is_an_integer(workers):
    with pytest.raises(InputError, match=r"^workers: must be an integer of at least 0, got "):
        SearchOptions(workers=workers)
