"""What a callable uses of modules that lie beside it, and what it carries with it."""

import importlib

import pytest
import torch

from search.study.origin import describe_callable

HELPERS = "NET = {0}\ndef score(arch):\n    return {0}\n"
USES = {
    "a value of the module": "import {0}\ndef evaluate(arch): return {0}.NET",
    "a function of the module": "import {0}\ndef evaluate(arch): return {0}.score(arch)",
    "an import inside": "def evaluate(arch):\n    from {0} import NET\n    return NET",
}


def made(monkeypatch, tmp_path, code, value, name):
    """A function that uses a module beside the script, in which there is a value."""
    (tmp_path / f"{name}.py").write_text(HELPERS.format(value))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    scope = {"__name__": "script"}
    exec(code.format(name), scope)
    return scope["evaluate"]


@pytest.mark.parametrize("code", USES.values(), ids=USES)
def test_modules_of_ones_own_cannot_be_compared(monkeypatch, tmp_path, code):
    evaluate = made(monkeypatch, tmp_path, code, 1, "helpers_that_change")
    found = describe_callable(evaluate)
    assert found.keys() == {"run", "why"}
    assert "`helpers_that_change`, a module of yours" in found["why"]


def test_functions_of_ones_own_modules_are_read(monkeypatch, tmp_path):
    code = "from {0} import score\ndef evaluate(arch): return score(arch)"
    one, same, other = (
        describe_callable(made(monkeypatch, tmp_path, code, value, f"helpers_read_{i}"))
        for i, value in enumerate((1, 1, 2))
    )
    assert one.keys() == {"code"}
    assert one == same != other


def test_what_a_function_carries_with_it_counts():
    def evaluate(arch):
        return evaluate.scale

    evaluate.scale = 1
    one = describe_callable(evaluate)
    evaluate.scale = 2
    assert one.keys() == {"code"}
    assert describe_callable(evaluate) != one
    evaluate.scale = torch.tensor(1.0)
    assert "of type Tensor" in describe_callable(evaluate)["why"]
