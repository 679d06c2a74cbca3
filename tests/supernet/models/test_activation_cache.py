"""The bytes of what is cached: shared storages count once, and interrupts leave no wrong count."""

import pytest
import torch

from supernet.backbones.blocks import Exposed
from supernet.models.activation_cache import ActivationCache, Prefix, storages
from supernet.operators.base import Flow

IMAGES = torch.zeros(1)


def held_bytes(prefixes):
    """The bytes that the flows of prefixes hold together."""
    flows = [cached.flow for prefix in prefixes for cached in prefix.flows.values()]
    return sum({key: size for flow in flows for key, size in storages(flow).items()}.values())


def flow(count, read=None):
    return Flow(torch.zeros(count), Exposed(read=read))


def test_what_is_shared_is_counted_once_and_freed_with_its_last_holder():
    prefixes, shared = [Prefix(macs, uses=1.0) for macs in (1, 2, 3)], torch.zeros(100)
    cache = ActivationCache(1000)
    for prefix in prefixes:
        cache.add(prefix, IMAGES, flow(10, shared))
    assert cache.bytes == held_bytes(prefixes) == 4 * (3 * 10 + 100)
    cache.start_evaluation([])
    # The one of least worth makes no room but that of its own tensor.
    late = Prefix(999, uses=1.0)
    cache.add(late, IMAGES, flow(128))
    assert [len(each.flows) for each in prefixes] == [0, 1, 1]
    assert cache.bytes == held_bytes([*prefixes, late]) == 4 * (2 * 10 + 100 + 128)
    cache.start_evaluation([])
    cache.add(Prefix(99_999, uses=1.0), IMAGES, flow(240))
    assert [len(each.flows) for each in (*prefixes, late)] == [0, 0, 0, 0]
    assert cache.bytes == 4 * 240


def test_a_storage_of_what_is_evicted_is_counted_for_the_new_holder():
    first, second, shared = Prefix(1, uses=1.0), Prefix(999, uses=1.0), torch.zeros(100)
    cache = ActivationCache(4 * 210)
    cache.add(first, IMAGES, flow(100, shared))
    cache.start_evaluation([])
    cache.add(second, IMAGES, flow(110, shared))
    assert (len(first.flows), len(second.flows)) == (0, 1)
    assert cache.bytes == held_bytes([first, second]) == 4 * 210
    # One byte more would not fit, whatever goes for it.
    cache.start_evaluation([])
    cache.add(first, IMAGES, flow(211))
    assert not first.flows


@pytest.mark.parametrize("name", ["_count", "_uncount"])
def test_after_an_interrupt_it_is_counted_anew(monkeypatch, name):
    cache, prefixes = ActivationCache(1000), [Prefix(macs, uses=1.0) for macs in (1, 2, 3)]
    for prefix in prefixes[:2]:
        cache.add(prefix, IMAGES, flow(100))
    cache.start_evaluation([])
    call = getattr(cache, name)

    def interrupted(cached):
        call(cached)
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(cache, name, interrupted)
        with pytest.raises(TimeoutError):
            cache.add(prefixes[2], IMAGES, flow(100))
    cache.start_evaluation([])
    assert cache.bytes == held_bytes(prefixes) <= 1000
    cache.add(prefixes[2], IMAGES, flow(100))
    assert cache.bytes == held_bytes(prefixes) == 800
