"""Image files are opened before long work: once, and by the command alone."""

import os
import shutil
import subprocess
import sys

import pytest
from image_toys import image_folder
from stages_config import CONFIG

from search.cli.main import main

DATA = "{{batch: 4, workers: 0, search_share: 0.4, dataset: {{name: folder, root: {}}}}}"
REST = "search: {trials: 6}\nretrain: {epochs: 1, budgets: [90%]}\n"


@pytest.fixture
def config(tmp_path):
    """A run of 20 images that lie in files."""
    image_folder(tmp_path / "images", count=5)
    data = f"data: {DATA.format(tmp_path / 'images')}"
    lines = [data if line.startswith("data:") else line for line in CONFIG.splitlines()]
    path = tmp_path / "toy.yaml"
    path.write_text("\n".join([*lines, f"run: {tmp_path / 'run'}", REST]))
    return path


def broken(config, number=4):
    """A test image, the last one unless told otherwise, cut off."""
    path = config.parent / "images" / "val" / "dog" / f"{number}.png"
    path.write_bytes(path.read_bytes()[:-100])
    return path


def refused(capsys, *words):
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", ["train", "run"])
def test_an_unreadable_test_image_is_found_before_training(config, tmp_path, capsys, command):
    path = broken(config)
    error = refused(capsys, command, config)
    reason = f"1 of 20 images cannot be used: {path}: image 9 of validation cannot be read: "
    assert error.startswith(f"tokennas: {reason}")
    assert not (tmp_path / "run" / "supernet").exists()
    shutil.copy(path.with_name("3.png"), path)
    # Nothing is left that would hold the run to these values.
    assert main(["train", str(config), "--supernet.lr", "0.01"]) == 0
    assert capsys.readouterr().err.startswith("1 of 20 images opened in ")


@pytest.mark.slow
def test_every_command_opens_the_files_that_it_does_not_know_and_no_others(
    config, tmp_path, capsys
):
    for command in ("train", "search", "retrain"):
        assert main([command, str(config)]) == 0
    assert capsys.readouterr().err.count("20 of 20 images opened in ") == 1
    arch = tmp_path / "run" / "retrain" / "main" / "full" / "arch.yaml"
    later = (
        ["search", config, "--search.name", "b"],
        ["retrain", config, "--retrain.budgets", "[80%]"],
        ["evaluate", config, "--archs", arch],
    )
    for words in later:
        assert main([str(word) for word in words]) == 0
        assert " opened in " not in capsys.readouterr().err
    # Whoever reads images one by one would meet the first of the two alone.
    paths = [broken(config, number) for number in (3, 4)]
    for words in later:
        error = refused(capsys, *words)
        assert error.startswith("tokennas: 2 of 20 images cannot be used: "), words
        assert all(str(path) in error for path in paths)


@pytest.mark.parametrize("split", ["train", "training"])
def test_a_test_split_of_training_images_is_refused(config, tmp_path, capsys, split):
    error = refused(capsys, "train", config, "--data.dataset.test_split", split)
    assert f"dataset.test_split: '{split}' shares images with the training split" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.cluster
def test_of_processes_that_train_together_the_first_one_opens_them(config, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    command += ["--local-addr", "127.0.0.1", "-m", "--", "search", "train", "toy.yaml"]
    command += ["--data.batch", "2"]
    path = broken(config)

    def trained():
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    met = trained()
    assert met.returncode != 0
    assert met.stderr.count(f"{path}: image 9 of validation cannot be read") == 1
    shutil.copy(path.with_name("3.png"), path)
    done = trained()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("1 of 20 images opened in") == 1


@pytest.mark.cluster
def test_workers_that_retrain_open_none(config, capfd):
    words = ["--retrain.workers", "1", "--retrain.full", "false"]
    assert main(["run", str(config), *words]) == 0
    told = capfd.readouterr()
    assert (told.err + told.out).count(" opened in ") == 1
