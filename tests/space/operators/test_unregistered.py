"""A process that lacks an operator refuses spaces and archs that have it."""

import pickle

import pytest
from space_toys import deit_small
from toy_operator import Thin, ThinAxis, registered_in_space

from space import Arch, BlockArch, InputError, SearchSpace
from space.operators.registry import operator

SHAPE = deit_small()


def test_a_pickled_space_is_refused_where_its_operator_is_not_registered():
    with registered_in_space(Thin()):
        space = SearchSpace(SHAPE, {"thin": ThinAxis((1, 2))})
        data = pickle.dumps(space)
        assert pickle.loads(data) == space
        assert pickle.loads(data).size() == space.size() > 1
    with pytest.raises(InputError, match="'thin': not registered in this process, which has pool"):
        pickle.loads(data)


def test_an_axis_of_an_unknown_operator_is_refused():
    with pytest.raises(InputError, match="operator 'nope': not registered"):
        SearchSpace(SHAPE, {"nope": ThinAxis((1,))})
    with pytest.raises(InputError, match="operator 'nope': not registered"):
        operator("nope")


def test_an_arch_with_a_choice_that_nobody_knows_is_in_no_space():
    arch = Arch((BlockArch(extra=(("thin", True),)), *(BlockArch(),) * (SHAPE.depth - 1)))
    space = SearchSpace(SHAPE)
    assert arch not in space
    assert space.violations(arch) == ["operator 'thin' is not registered in this process"]
    assert space.largest() in space
