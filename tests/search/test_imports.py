"""What processes have to load before they can work."""

import subprocess
import sys

import pytest

LOOK = "import {}, sys; print([name for name in {} if name in sys.modules])"


@pytest.mark.parametrize(
    "module", ["search.run", "search.distributed.study_actor", "search.distributed.tune"]
)
def test_a_search_over_a_callable_loads_no_torch_in_any_of_its_processes(module):
    code = LOOK.format(module, ["torch", "timm", "torchvision"])
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_search_without_workers_loads_no_ray():
    code = LOOK.format("search.run", ["ray"])
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
