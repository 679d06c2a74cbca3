"""The table's file: read back as it was, and refused in a line where it is not right."""

import re
from dataclasses import replace

import pytest
from latency_toys import ms_of_arch, table_of
from search_toys import all_archs, middle_space, toy_space
from space_toys import deit

from search.latency.table import LatencyTable
from space import InputError, SearchSpace


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "toy.yaml"
    table_of(toy_space()).save(path)
    return path


def test_what_is_written_is_read(saved):
    assert LatencyTable.load(saved) == table_of(toy_space())


def test_a_table_of_an_earlier_version_is_read(saved):
    text = saved.read_text(encoding="utf-8")
    saved.write_text(text.replace("batch: 8", "batch: 8, clock_mhz: 2100.0"), encoding="utf-8")
    assert LatencyTable.load(saved) == table_of(toy_space())


def test_predictions_are_the_sums_of_the_terms():
    space = toy_space()
    table = table_of(space)
    for arch in all_archs(space):
        assert table.predict(arch) == pytest.approx(ms_of_arch(arch, space.shape), rel=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("schema: tokennas/latency/1", "schema: tokennas/latency/2", "1: schema: must be"),
        ("name: toy", "name: a/b", "toy.yaml:2: name: must be letters"),
        ("batch: 8", "batch: 0", "3: conditions: batch: must be at least 1"),
        ("dtype: float32", "dtype: int8", "dtype must be one of float32"),
        ("compiled: false", "compiled: 3", "compiled: must be true or false"),
        ("compiled: false", "compiler: false", "conditions.compiler: unknown key"),
        ("mean: 0.01", "mean: -1", "error.mean: must be a number of at least 0"),
        ("full_ms:", "full:", "full: unknown key 'full'|unknown key; did you mean 'full_ms'"),
        ("[own, 49, 49,", "[own, 49.5, 49,", r"terms\[\d+\]\[1\]: must be an integer"),
        ("[own, 49, 49,", "[own, 49, 49, 1,", r"terms\[\d+\]: must be \[operator"),
        ("[own, 196, 196,", "[own, 195, 195,", r"measured\[0\].blocks: own 196 is not among"),
        (r"full_ms: [0-9.]+", "full_ms: 0.0", "full_ms: must be over 0"),
        ("held_out: true", "held_out: 1", r"measured\[1\].held_out: must be true or false"),
        ("depth: 6", "depth: 7", r"measured\[0\].blocks: the arch has 6 blocks"),
        (r"(?s)\nshape:.*", "", "missing 'shape'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(saved, old, new, complaint):
    text = saved.read_text(encoding="utf-8")
    assert re.search(old if old.startswith(("(?", "full_ms: [")) else re.escape(old), text)
    changed = re.sub(old, new, text) if "[0-9" in old or "(?" in old else text.replace(old, new, 1)
    saved.write_text(changed, encoding="utf-8")
    with pytest.raises(InputError, match=complaint) as caught:
        LatencyTable.load(saved)
    assert str(caught.value).startswith(str(saved))
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_that_was_cut_off_is_noticed(saved):
    text = saved.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    for count in range(0, len(lines), 3):
        saved.write_text("".join(lines[:count]), encoding="utf-8")
        with pytest.raises(InputError):
            LatencyTable.load(saved)


def test_tables_that_cannot_judge_a_space_are_refused():
    space = toy_space()
    table_of(space).check(space, "t")
    with pytest.raises(InputError, match="t: lacks the `error` of its predictions"):
        table_of(space, error=None).check(space, "t")
    with pytest.raises(InputError, match="t: of another backbone: depth 6 instead of 5"):
        table_of(space).check(middle_space(), "t")
    wide = SearchSpace(deit(192, 3, 6), space.axes)
    with pytest.raises(InputError, match="another backbone: width 384 instead of 192"):
        table_of(space).check(wide, "t")
    more = SearchSpace.from_dict(space.to_dict() | {"share": {"max_run": 3}}, space.shape)
    poor = replace(table_of(space), terms=dict(list(table_of(space).terms.items())[1:]))
    with pytest.raises(InputError, match="no time for 1 operations of this space, such as avg2d"):
        poor.check(more, "t")


def test_other_classes_are_no_other_backbone():
    space = toy_space()
    head = space.shape.head._replace(macs=7)
    other = SearchSpace(replace(space.shape, head=head), space.axes)
    table_of(space).check(other, "t")
    # Only the head may differ.
    stem = space.shape.stem._replace(macs=7)
    other = SearchSpace(replace(space.shape, stem=stem), space.axes)
    with pytest.raises(InputError, match="of another backbone: stem"):
        table_of(space).check(other, "t")
