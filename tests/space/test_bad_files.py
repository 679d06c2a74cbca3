"""Arch files that are not right: one line with file, line, place, value and what would be right."""

import pytest

from space import InputError, load_arch, load_arch_file


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1


CHANGES = [
    ("schema: tokennas/arch/1", "schema: tokennas/arch/2", "schema: must be tokennas/arch/1, got "),
    ("schema: tokennas/arch/1", "schema: [1]", "schema: must be tokennas/arch/1, got [1]"),
    ("metrics:", "metric:", "metric: unknown key; did you mean 'metrics'?"),
    ("metrics:", "zzz:", "zzz: unknown key; known are schema, shape, blocks, cost, backbone"),
    ("metrics: {top1: 0.5}", "metrics: false", "metrics: must be a mapping, got False"),
    (
        "metrics: {top1: 0.5}",
        "input: {sizes: [3, 8, 8]}",
        "input.sizes: unknown key; did you mean 'size'?",
    ),
    (
        "metrics: {top1: 0.5}",
        "input: {crop_mode: middle}",
        "input.crop_mode: value must be one of center, squash, border, got 'middle'",
    ),
    (
        "metrics: {top1: 0.5}",
        "input: {size: [3, 8]}",
        "input.size: must be channels, height and width, got [3, 8]",
    ),
    (
        "metrics: {top1: 0.5}",
        "input: {std: [0.2, .nan]}",
        "input.std[1]: must be a number, got nan",
    ),
    (
        "metrics: {top1: 0.5}",
        "input: {crop_pct: 0}",
        "input.crop_pct: must be over 0",
    ),
    ("metrics: {top1: 0.5}", "metrics: {top1: 0.5, top1: 1}", "metrics.top1: given twice"),
    ("metrics: {top1: 0.5}", "metrics: {1: 0.5}", "metrics: a key must be text, got '1'"),
    ("metrics: {top1: 0.5}", "metrics: {yes: 0.5}", "metrics: a key must be text, got 'yes'"),
    ("metrics: {top1: 0.5}", "metrics: {? [a] : 0.5}", "metrics: a key must be text"),
    ("metrics: {top1: 0.5}", "metrics: {<<: {a: 1}}", "metrics: a key must be text, got '<<'"),
    ("top1: 0.5", "top1: 2024-01-02", "metrics.top1: '2024-01-02' is no text, number or boolean"),
    ("top1: 0.5", "top1: 2024-99-99", "metrics.top1: '2024-99-99' is no text, number or boolean"),
    ("top1: 0.5", "top1: !!binary aGk=", "metrics.top1: 'aGk=' is no text, number or boolean"),
    ("top1: 0.5", "top1: !!int ''", "metrics.top1: '' is no text"),
    ("top1: 0.5", "top1: !!bool maybe", "metrics.top1: 'maybe' is no text"),
    ("top1: 0.5", "top1: !!timestamp x", "metrics.top1: 'x' is no text"),
    ("top1: 0.5", "top1: =", "metrics.top1: '=' is no text"),
    (
        "top1: 0.5",
        "top1: !!set {a}",
        "metrics.top1: the tag 'tag:yaml.org,2002:set' is not allowed",
    ),
    ("top1: 0.5", "top1: *x", "no valid YAML: found undefined alias"),
    ("top1: 0.5", "top1: 1" + ":1" * 9999, "metrics.top1: '1:1:1:1"),
    ("top1: 0.5", "top1: 0x" + "f" * 9999, "metrics.top1: '0xffff"),
    ("top1: 0.5", '"to\\np": {1: 1}', "metrics.to\\np: a key must be text, got '1'"),
    ("top1: 0.5", "top1: !%0Ax y", "metrics.top1: 'y' is no text"),
    ("top1: 0.5", "top1: !!python/object/apply:os.system [ls]", "metrics.top1: the tag 'tag:yaml."),
    ("top1: 0.5", "top1: !!python/name:os.system x", "metrics.top1: 'x' is no text"),
    ("classes: [cat, dog]", "classes: cat", "classes: must be a list, got 'cat'"),
    ("classes: [cat, dog]", "classes: [cat, no]", "classes[1]: must be text, got False"),
    ("classes: [cat, dog]", "classes: 0", "classes: must be a list, got 0"),
    ("depth: 12", "depth: 11", "blocks: the arch has 12 blocks, the backbone 11"),
    ("depth: 12", "depth: 12.0", "shape: depth: must be an integer of 1 to 1000, got 12.0"),
    ("depth: 12", "dept: 12", "shape.dept: unknown key; did you mean 'depth'?"),
    ("heads: 6", "heads: 7", "shape: attention_width must be a multiple of heads=7, got 384"),
    ("macs: 1179648", "macs: 1179649", "cost.macs: does not fit blocks and shape, which give "),
    (
        "- {attention: shared}",
        "- {attention: share}",
        "blocks[7]: attention must be one of own, sh",
    ),
    ("- {attention: shared}", "- {attn: shared}", "blocks[7].attn: unknown key"),
    (
        "- {attention: shared}",
        "- {atention: shared}",
        "blocks[7].atention: unknown key; did you me",
    ),
    (
        "- {attention: shared}",
        "- shared",
        "blocks[7]: must be a mapping of pool, skip, selector, attention, got 'shared'",
    ),
    (
        "- {attention: shared}",
        "-",
        "blocks[7]: must be a mapping of pool, skip, selector, attention, got None",
    ),
    ("- {attention: shared}", "- {skip: .nan}", "blocks[7]: skip must lie in [0, 1), got nan"),
    ("- {attention: shared}", "- {skip: -.inf}", "blocks[7]: skip must lie in [0, 1), got -inf"),
    ("- {attention: shared}", "- {skip: 1}", "blocks[7]: skip must lie in [0, 1), got 1"),
    ("- {attention: shared}", "- {skip: half}", "blocks[7]: skip must lie in [0, 1), got 'half'"),
    ("- {attention: shared}", "- {skip: true}", "blocks[7]: skip must lie in [0, 1), got True"),
    ("- {attention: shared}", "- {selector: all}", "blocks[7]: selector must be one of map, cls"),
    (
        "- {attention: shared}",
        "- {pool: avg2d}",
        "blocks[7].pool: must be a mapping of kind, grid, stride, got 'avg2d'",
    ),
    ("- {attention: shared}", "- {pool: {grid: [2, 2]}}", "blocks[7].pool: missing 'kind'"),
    ("kind: avg2d", "kind: avg3d", "blocks[2].pool: pool kind must be one of avg2d, max2d"),
    ("grid: [10, 10]", "grid: 10", "blocks[2].pool: pool avg2d needs grid=(height, width) of"),
    ("grid: [10, 10]", "stride: 2", "blocks[2].pool: pool avg2d needs grid=(height, width) of"),
    ("grid: [10, 10]", "grid: [15, 14]", "blocks: blocks[2]: pool avg2d:15x14 is not smaller than"),
    (
        "- {attention: shared}",
        "- {skip: 0.5, attention: shared}",
        "blocks: blocks[7]: a block can s",
    ),
    ("  macs: ", "  mac: ", "cost.mac: unknown key; did you mean 'macs'?"),
    ("  macs: ", "  macs: 1", "cost.macs: does not fit blocks and shape, which give "),
    (
        "params: 21755062",
        "params: 1.5",
        "cost.params: does not fit blocks and shape, which give 217",
    ),
    (
        "patch_tokens: [196",
        "patch_tokens: [195",
        "cost.patch_tokens: does not fit blocks and shape",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "message"), CHANGES)
def test_one_wrong_thing_is_told_with_its_line_and_place(valid, complaint, right, wrong, message):
    assert right in valid, valid
    found = complaint(valid.replace(right, wrong, 1))
    line, place = found.removeprefix(":").split(": ", 1)
    assert place.startswith(message)
    assert 1 <= int(line) <= valid.count("\n") + 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("- {attention: shared}", "- {attention: share}"),
        ("- {attention: shared}", "- {atention: shared}"),
        ("kind: avg2d", "kind: avg2d\n    kind: max2d"),
        ("  macs: 2553200520", "  macs: 12553200520"),
        ("heads: 6", "heads: 6, heads: 6"),
        ("heads: 6", "heads: !x 6"),
    ],
)
def test_the_line_is_that_of_the_value(valid, complaint, right, wrong):
    text = valid.replace(right, wrong, 1)
    line = line_of(text, wrong.split("\n")[-1].strip())
    assert complaint(text).startswith(f":{line}: ")


@pytest.mark.parametrize("key", ["schema", "shape", "blocks", "cost"])
def test_a_missing_key_is_told_by_name(valid, complaint, key):
    lines = valid.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
    end = start + 1
    while end < len(lines) and lines[end][0] in " -":
        end += 1
    assert complaint("".join(lines[:start] + lines[end:])) == f":1: missing '{key}'"
    nothing = [f"{key}:\n"]
    assert complaint("".join(lines[:start] + nothing + lines[end:])) == f":1: missing '{key}'"


def test_a_directory_and_a_missing_file_are_told_as_such(tmp_path):
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_arch(tmp_path)
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        load_arch_file(tmp_path / "none.yaml")
