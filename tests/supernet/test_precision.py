"""Where bfloat16 autocast is on, and what stays in float32 under it."""

import pytest
import torch

from supernet.precision import (
    LEAST_WIDTH,
    Autocast,
    autocast,
    decide_autocast,
    fast_devices,
    full_precision,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NONE, BOTH = frozenset(), frozenset({"cpu", "cuda"})


@pytest.mark.parametrize(
    ("amp", "device", "width", "fast", "text"),
    [
        ("auto", CPU, LEAST_WIDTH, BOTH, f"on (auto: on a CPU, width {LEAST_WIDTH} is at least"),
        ("auto", CPU, LEAST_WIDTH - 1, BOTH, f"off (auto: on a CPU, width {LEAST_WIDTH - 1} is be"),
        ("auto", CPU, 4096, NONE, "off (auto: this CPU has no fast instructions for bfloat16)"),
        ("auto", CUDA, 16, BOTH, "on (auto: on a GPU)"),
        ("auto", CUDA, 4096, NONE, "off (auto: this GPU has no fast instructions for bfloat16)"),
        (True, CPU, 16, BOTH, "on (amp: true)"),
        (True, CPU, 16, NONE, "on (amp: true, slow: this CPU has no fast instructions for bfloat"),
        (False, CPU, 4096, BOTH, "off (amp: false)"),
        (False, CUDA, 4096, BOTH, "off (amp: false)"),
        (True, torch.device("meta"), 4096, BOTH, "off (not used on meta)"),
    ],
)
def test_auto_is_on_where_it_is_faster_and_a_choice_is_taken(amp, device, width, fast, text):
    decision = decide_autocast(amp, device, width, fast)
    assert str(decision).startswith(f"bfloat16 autocast: {text}")
    assert decision.on == text.startswith("on ")


def test_networks_as_small_as_the_quickstarts_compute_as_ever():
    for width in (64, 96, 128):
        assert not decide_autocast("auto", CPU, width, BOTH).on


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, True),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, False),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "cpu_name": "AMD EPYC"}, False),
    ],
)
def test_a_cpu_needs_fast_instructions(monkeypatch, capabilities, fast):
    # Intel's CPUs that have those of AVX-512 alone are no faster than in float32, AMD's are.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert ("cpu" in fast_devices()) == fast
    assert decide_autocast("auto", CPU, LEAST_WIDTH).on == fast
    # Elsewhere the list differs: an ARM has neither key.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"neon": True, "bf16": True})
    assert "cpu" not in fast_devices()


def test_autocast_is_on_as_decided_and_off_where_full_precision_is_needed():
    x = torch.randn(4, 4)
    for on in (True, False):
        decision = Autocast(on, "")
        with autocast(CPU, decision.on):
            assert (x @ x).dtype == (torch.bfloat16 if on else torch.float32)
            with full_precision(x):
                assert (x @ x).dtype == torch.float32
