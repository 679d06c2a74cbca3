"""Which networks are retrained."""

import pytest
from search_toys import toy_space

from search.stages.choosing import given
from space import InputError, save_arch


def saved(path, arch, space):
    path.parent.mkdir(exist_ok=True)
    save_arch(arch, path, shape=space.shape)
    return str(path)


def test_arch_files_are_called_as_they_are(tmp_path):
    space = toy_space()
    archs = {"one": space.largest(), "two": space.smallest()}
    paths = [saved(tmp_path / f"{name}.yaml", arch, space) for name, arch in archs.items()]
    assert {choice.name: choice.arch for choice in given(paths, space)} == archs


def test_two_files_that_would_share_a_folder_are_refused(tmp_path):
    space = toy_space()
    paths = [
        saved(tmp_path / name / "best.yaml", arch, space)
        for name, arch in (("a", space.largest()), ("b", space.smallest()))
    ]
    with pytest.raises(InputError, match=r"a/best\.yaml: another of the files is called best too"):
        given(paths, space)


def test_an_arch_outside_the_space_is_refused_by_its_file(tmp_path):
    space = toy_space()
    values = space.to_dict()
    values["skip"]["ratios"] = [0.25]
    other = type(space).from_dict(values, space.shape)
    path = saved(tmp_path / "other.yaml", other.smallest(), space)
    with pytest.raises(InputError, match=r"other\.yaml: not in the space of this run"):
        given([path], space)
