"""Weights on disk."""

import os
import pickle

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save_file
from supernet_toys import build, build_supernet, export, hand_made, named_supernet

from space import InputError
from supernet import create_subnet, load_weights, save_weights
from supernet.weights import tensor_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_round_trip(tmp_path, dtype):
    net = build_supernet("hybrid", dtype)
    file = tmp_path / "net.safetensors"
    save_weights(net, file, {"origin": "here"})
    other = build_supernet("hybrid", dtype)
    with torch.no_grad():
        for value in other.state_dict().values():
            value.zero_()
    load_weights(other, file)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    with safe_open(file, "pt") as stored:
        assert stored.metadata() == {"format": "pt", "origin": "here"}
    assert list(tmp_path.iterdir()) == [file]


def test_tensors_that_share_memory_are_stored_each(tmp_path):
    net = build("class token")
    net.blocks[1].mlp.fc1.weight = net.blocks[0].mlp.fc1.weight
    save_weights(net, tmp_path / "net.safetensors")
    other = build("class token")
    load_weights(other, tmp_path / "net.safetensors")
    for i in (0, 1):
        assert torch.equal(other.blocks[i].mlp.fc1.weight, net.blocks[0].mlp.fc1.weight)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "net.safetensors"
    save_weights(build("class token"), file)
    before = file.read_bytes()

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"net\.safetensors: cannot be written: disk full"):
        save_weights(build("registers"), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


class Evil:
    """What a pickle runs when it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "was-run"),)


def broken_files(folder, whole):
    """Files that are no weights of the subnet, and what is said of them."""
    yield "missing", None, "cannot be read: No such file or directory"
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        yield f"cut{size}", whole[:size], "not a complete safetensors file"
    yield "longer", whole + b"x", "not a complete safetensors file"
    yield "text", b"schema: tokennas/arch/1\n", "not a complete safetensors file"
    yield "pickle", pickle.dumps(Evil(folder)), "not a complete safetensors file"
    torch.save({"head.weight": Evil(folder)}, folder / "zip")
    yield "zip", (folder / "zip").read_bytes(), "not a complete safetensors file"


def test_files_that_are_no_weights(tmp_path):
    arch = hand_made(named_supernet().shape)[0]
    file, weights, _ = export(tmp_path, arch)
    for name, content, reason in broken_files(tmp_path, weights.read_bytes()):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: {reason}") as error:
            create_subnet(file, tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        create_subnet(file, tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_names_and_sizes_must_be_right(tmp_path):
    _, weights, subnet = export(tmp_path, hand_made(named_supernet().shape)[0])
    before = {name: value.clone() for name, value in subnet.state_dict().items()}
    tensors = {name: torch.zeros_like(value) for name, value in before.items()}
    for change, reason in (
        ({"head.bias": None}, "lacks head.bias$"),
        ({"pools.0.conv2d.weight": torch.zeros(3)}, "has unknown pools.0.conv2d.weight$"),
        ({"head.bias": torch.zeros(3)}, r"has head.bias \[3\] instead of \[7\]$"),
        (dict.fromkeys(list(tensors)[:7]), "lacks .*, .*, .* and 4 more$"),
    ):
        changed = {k: v for k, v in (tensors | change).items() if v is not None}
        save_file(changed, weights)
        with pytest.raises(InputError, match=reason):
            load_weights(subnet, weights)
    # Nothing was loaded on the way to a refusal.
    assert all(torch.equal(subnet.state_dict()[name], value) for name, value in before.items())


def test_the_same_tensors_give_the_same_bytes():
    tensors = {"b": torch.arange(5), "a": torch.randn(3, 4)}
    about = {"config.json": '{"é": 1}', "more": "words"}
    (data,) = {tensor_bytes(tensors, about) for _ in range(30)}
    for name, tensor in load(data).items():
        assert torch.equal(tensor, tensors[name])
