"""Every known way to have code run, or files written elsewhere, by what a file says."""

import io
import json
import os
import pickle
import tarfile
import zipfile
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from fuzzing import signed
from mutations import MODULE
from search_toys import Evaluate, problem_of, small_space
from security import in_a_line
from training_toys import CLASSES, toy_backbone

from search.cli.parse import parse_call
from search.front.front import Front
from search.run import run_search
from search.study.options import SearchOptions
from search.study.samplers import parse_sampler
from search.study.search import Search
from search.study.storage import Store, read_trials
from search.study.trial_format import read_records
from space import Arch, InputError, load_arch_file, save_arch
from space.utils.yaml_file import read_yaml
from supernet import create_subnet
from supernet.backbones.load import BackboneConfig, load_backbone, load_checkpoint_file
from supernet.data.sources import DatasetConfig, open_sources
from supernet.tasks.classification import Classification
from supernet.training.checkpoint import load_checkpoint, previous_path, save_checkpoint
from supernet.weights import load_weights

SPACE = small_space()
TASK = Classification(CLASSES)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Whether code of a file's own was run: as a command, as a pickle, or as a module."""
    mark = tmp_path / "ran"
    source = f"open({str(mark)!r}, 'w').close()\nclass Thing:\n    pass\n"
    (tmp_path / f"{MODULE}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    return SimpleNamespace(mark=mark, exists=mark.exists, command=f"touch {mark}")


class Runs:
    """What unpickles by running a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def zipped(payload, state):
    """A file that torch saved, with other bytes in the place of its pickle."""
    saved, found = io.BytesIO(), io.BytesIO()
    torch.save(state, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(found, "w") as new:
        for name in old.namelist():
            new.writestr(name, payload if name.endswith("data.pkl") else old.read(name))
    return found.getvalue()


def evil(command):
    """Pickles that would run a command, in every envelope that torch opens."""
    payload = pickle.dumps(Runs(command), protocol=2)
    legacy = io.BytesIO()
    torch.save({"a": Runs(command)}, legacy, _use_new_zipfile_serialization=False)
    return [payload, legacy.getvalue(), zipped(payload, {"a": torch.zeros(2)})]


def test_the_pickles_of_these_tests_would_run(ran):
    for data in evil(ran.command):
        with suppress(Exception):
            torch.load(io.BytesIO(data), weights_only=False)
        assert ran.exists()
        ran.mark.unlink()


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a.safetensors", "a"])
def test_no_pickle_is_run_as_weights_of_a_backbone(tmp_path, ran, name):
    path = tmp_path / name
    for data in evil(ran.command):
        path.write_bytes(data)
        message = in_a_line(load_checkpoint_file, toy_backbone(), path)
        assert message.startswith(f"{path}: no checkpoint that can be read: ")
        assert str(path) in in_a_line(load_weights, toy_backbone(), path)
    assert not ran.exists()


def test_no_pickle_is_run_as_a_checkpoint_whose_checksum_is_right(tmp_path, ran):
    path = tmp_path / "checkpoint.pt"
    for data in evil(ran.command):
        for each in (path, previous_path(path)):
            each.write_bytes(signed(data))
        assert "not an intact checkpoint" in in_a_line(load_checkpoint, path)
    # Behind a whole one, it is set aside.
    save_checkpoint({"a": 1}, previous_path(path))
    assert load_checkpoint(path).state == {"a": 1}
    assert not ran.exists()


TAGS = (
    "!!python/object/apply:os.system ['{command}']",
    "!!python/object/new:os.system ['{command}']",
    "!!python/name:{module}.Thing ''",
    "!!python/module:{module} ''",
    "!!python/object:{module}.Thing {{}}",
    "{{class_path: {module}.Thing}}",
    "{{class_path: os.system, init_args: {{command: '{command}'}}}}",
    "{{<<: {{class_path: {module}.Thing}}}}",
    "[&a {{x: 1}}, {{<<: *a}}]",
    "{module}.Thing",
    "[{{class_path: {module}.Thing}}]",
)
KEYS = ("seed", "run", "backbone", "data", "space", "search", "retrain", "supernet")
INNER = (
    "backbone: {{args: {{norm_layer: {0}}}}}",
    "backbone: {{model: {0}}}",
    "data: {{dataset: {{args: {{x: {0}}}}}}}",
    "search: {{sampler: {0}}}",
    "search: {{sampler_args: {{gamma: {0}}}}}",
    "search: {{budget: {0}}}",
    "supernet: {{teacher: {0}}}",
    "supernet: {{optimizer_args: {{foreach: {0}}}}}",
)


@pytest.mark.parametrize("tag", TAGS)
def test_no_value_of_a_config_is_imported_or_called(tmp_path, ran, tag):
    value = tag.format(command=ran.command, module=MODULE)
    path = tmp_path / "mine.yaml"
    for text in [f"{key}: {value}" for key in KEYS] + [each.format(value) for each in INNER]:
        path.write_text(text + "\n")
        for command in ("train", "search", "inspect"):
            with suppress(InputError):
                parse_call([command, str(path)])
        with suppress(InputError):
            parse_call(["train", "--" + text.replace(": ", "=", 1)])
    assert not ran.exists()


def test_a_section_is_no_name_of_another_file(tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("batch: 7\n")
    path = tmp_path / "mine.yaml"
    path.write_text(f"data: {other}\n")
    assert "data: must be a mapping of dataset" in in_a_line(parse_call, ["train", str(path)])


@pytest.mark.parametrize("tag", TAGS)
def test_no_value_of_an_arch_file_or_a_search_is_imported_or_called(tmp_path, ran, tag):
    run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=5, folder=tmp_path / "search")
    save_arch(SPACE.largest(), tmp_path / "arch.yaml", shape=SPACE.shape)
    value = tag.format(command=ran.command, module=MODULE)
    for path, read in (
        (tmp_path / "arch.yaml", load_arch_file),
        (tmp_path / "search" / "front.yaml", Front.load),
        (tmp_path / "search" / "search.yaml", read_yaml),
    ):
        text = path.read_text()
        for key in read_yaml(path).data:
            lines = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
            path.write_text("\n".join([f"{key}: {value}", *lines]) + "\n")
            with suppress(InputError):
                read(path)
    assert not ran.exists()


def test_an_arch_file_says_nothing_of_how_processes_run(tmp_path, ran):
    path = tmp_path / "arch.yaml"
    args = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    save_arch(Arch.full(7), path, shape=SPACE.shape, backbone={"model": "vit_tiny_patch16_224"})
    text, env = path.read_text(), f"runtime_env: {{py_modules: [{MODULE}]}}\n"
    path.write_text(env + text)
    assert "runtime_env: unknown key" in in_a_line(load_arch_file, path)
    for key in ("runtime_env", "pretrained", "checkpoint_path", "pretrained_cfg"):
        backbone = {"model": "vit_tiny_patch16_224", "args": {**args, key: str(tmp_path / "x")}}
        save_arch(Arch.full(7), path, shape=SPACE.shape, backbone=backbone)
        assert repr(key) in in_a_line(create_subnet, path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "model",
    ["hf-hub:a/b", "hf_hub:a/b", "local-dir:{0}", "HF-HUB:a/b.vit", "os.system", "../vit", "a\nb"],
)
def test_a_model_is_one_of_timms_own(tmp_path, ran, monkeypatch, model):
    def reached(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", reached)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224"}))
    (tmp_path / "pytorch_model.bin").write_bytes(evil(ran.command)[0])
    for pretrained in (False, True):
        config = BackboneConfig(model.format(tmp_path), pretrained=pretrained)
        assert "timm has no model" in in_a_line(load_backbone, config, TASK, 0)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DatasetConfig("wds/a", "pipe:{command}"), "is none of digits"),
        (DatasetConfig("WDS/a", "pipe:{command}"), "is none of digits"),
        (DatasetConfig("tfds/huggingface:a"), "is none of digits"),
        (DatasetConfig("hfids/a"), "is none of digits"),
        (DatasetConfig("hfds/{folder}/script.py"), "datasets"),
        (DatasetConfig("os/system"), "is none of digits"),
        (DatasetConfig("torch/os.system", "{folder}"), "Unknown torchvision dataset"),
        (DatasetConfig("hfds/a", args={"trust_remote_code": True}), "'trust_remote_code' is not"),
        (DatasetConfig("folder", "{folder}", args={"loader": "os.system"}), "'loader' is not"),
        (DatasetConfig("folder", "{folder}", args={"class_map": "{folder}/a.pkl"}), "a .txt file"),
        (DatasetConfig("folder", "{folder}", args={"x": 1}), "unexpected keyword argument 'x'"),
        (DatasetConfig("torch/cifar10", "{folder}"), "not found or corrupted"),
    ],
)
def test_a_data_set_is_read_and_not_run(tmp_path, ran, config, message):
    payload = pickle.dumps(Runs(ran.command))
    batches = tmp_path / "cifar-10-batches-py"
    for folder in (batches, tmp_path / "train"):
        folder.mkdir()
    for path in (tmp_path / "a.pkl", batches / "data_batch_1", batches / "batches.meta"):
        path.write_bytes(payload)
    (tmp_path / "script.py").write_text(f"import {MODULE}\n")
    places = {"folder": tmp_path, "command": ran.command}
    args = {
        key: value.format(**places) if isinstance(value, str) else value
        for key, value in config.args.items()
    }
    root = config.root and config.root.format(**places)
    config = DatasetConfig(config.name.format(**places), root, args=args)
    assert message in in_a_line(open_sources, config)
    assert not ran.exists()


def test_the_cache_beside_a_tar_is_not_run(tmp_path, ran):
    with tarfile.open(tmp_path / "train.tar", "w"):
        pass
    for name in ("_train_tarinfos.pickle", "train_tarinfos.pickle"):
        (tmp_path / name).write_bytes(pickle.dumps(Runs(ran.command)))
    config = DatasetConfig("tar", str(tmp_path), args={"cache_tarinfo": True})
    assert "'cache_tarinfo' is not allowed" in in_a_line(open_sources, config)
    in_a_line(open_sources, DatasetConfig("tar", str(tmp_path)))
    assert not ran.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "BaseSampler", "__class__", "../x", f"{MODULE}.Thing"]
)
def test_a_sampler_is_one_of_those_listed(ran, name):
    assert "sampler must be one of" in in_a_line(parse_sampler, name)
    assert "sampler must be one of" in in_a_line(parse_sampler, {"name": name})
    assert not ran.exists()


@pytest.mark.parametrize(
    "url",
    [
        f"{MODULE}://a",
        f"sqlite+{MODULE}://a",
        f"sqlite:///a.db?plugin={MODULE}",
        "mssql+pyodbc:///?odbc_connect=Driver=evil.so",
        "../../a",
        "",
        "sqlite:////nowhere/at/all/a.db",
    ],
)
def test_a_storage_is_a_database_that_sqlalchemy_ships(tmp_path, ran, url):
    def open_store():
        options = SearchOptions(storage=url)
        Store(tmp_path / "s", Search(problem_of(SPACE), folder=tmp_path / "s", options=options))

    message = in_a_line(open_store)
    assert message.startswith(("storage: must be the URL", f"storage {url}: "))
    assert not ran.exists()


@pytest.mark.parametrize("code", [-1, 4.5, 10, 99, "4", None, True, [], {}, 1e400, "os.system"])
def test_a_journal_of_odd_operations_is_read_or_refused(tmp_path, code):
    folder = tmp_path / "search"
    run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=5, folder=folder)
    journal = folder / "journal.log"
    lines = journal.read_text().splitlines()
    lines.insert(3, json.dumps({**json.loads(lines[3]), "op_code": code}))
    journal.write_text("\n".join(lines) + "\n")
    records = []
    with suppress(InputError):
        records = read_records(read_trials(folder), problem_of(SPACE))
    assert len(records) <= 5
