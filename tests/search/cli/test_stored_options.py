"""What later commands take from the run: options of earlier ones, but never over an edit."""

import json
import shlex
import shutil
from dataclasses import replace

import pytest
from stages_config import CONFIG

from search.cli.main import main
from search.cli.parse import parse_call
from search.pipeline.run_folder import RunFolder
from search.utils.console import OPTIMISTIC
from space import InputError
from space.utils.yaml_file import read_yaml

TEXT = """seed: 3
data: {batch: 64}
space:
  pool: {kinds: [avg2d], grids: [4]}
supernet: {epochs: 30, lr: 0.01}
search: {budget: macs=70%, trials: 100}
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy.yaml"
    path.write_text(TEXT)
    return path


def run(*words):
    """A command as far as its stage has taken the folder; gives its config."""
    call = parse_call([str(word) for word in words])
    RunFolder(call.config, call.file).claim("supernet", ("supernet",), searched=True)
    return call.config


def read(*words):
    return parse_call([str(word) for word in words]).config


def search_folder(name):
    folder = RunFolder(read("search", "toy.yaml"), None).path.parent / "toy" / "search" / name
    folder.mkdir(parents=True)


def test_a_silent_command_follows_the_run_and_an_option_wins(file):
    options = ["--supernet.epochs", "50", "--seed=4", "--data.augment.crop_scale", "[0.5, 1.0]"]
    run("train", file, *options, "--supernet.optimizer_args", "{eps: 1.0e-07}")
    for command in ("search", "train", "retrain"):
        config = read(command, file)
        assert (config.seed, config.supernet.epochs, config.supernet.lr) == (4, 50, 0.01)
        assert config.data.augment.crop_scale == (0.5, 1.0)
        assert config.supernet.optimizer_args == {"eps": 1e-7}
    assert read("search", file, "--supernet.epochs", "30").supernet.epochs == 30
    assert read("search", file, "--supernet", "{epochs: 20}").supernet.epochs == 20
    # What a command takes is not to be given up by being taken.
    run("search", file)
    assert read("search", file).supernet.epochs == 50
    assert read("search", file, "--run", "runs/other").supernet.epochs == 30
    call = parse_call(["search", str(file)])
    assert call.stored_values[("supernet", "epochs")] == 50
    assert ("supernet", "lr") not in call.stored_values


@pytest.mark.parametrize(
    ("old", "new", "epochs"),
    [
        ("epochs: 30", "epochs: 40", 40),
        ("epochs: 30, ", "", 30),
        ("lr: 0.01", "lr: 0.02, warmup_epochs: 2", 50),
    ],
)
def test_an_edit_of_the_file_counts(file, old, new, epochs):
    run("train", file, "--supernet.epochs", "50")
    file.write_text(TEXT.replace(old, new))
    assert read("search", file).supernet.epochs == epochs
    # It counts until it is taken back, whether a stage has taken the folder with it or not.
    assert read("search", file).supernet.epochs == epochs
    file.write_text(TEXT)
    assert read("search", file).supernet.epochs == 50


def test_a_value_that_the_file_says_only_now_counts_though_it_is_the_default(file):
    run("train", file, "--supernet.clip", "2.5", "--supernet.watch", "7")
    file.write_text(TEXT.replace("lr: 0.01", "lr: 0.01, watch: 3, clip: null"))
    config = read("search", file)
    assert (config.supernet.watch, config.supernet.clip) == (3, None)


def test_an_edit_during_a_long_command_counts_for_the_next_one(file):
    call = parse_call(["run", str(file), "--supernet.epochs", "50"])
    file.write_text(TEXT.replace("epochs: 30", "epochs: 40"))
    RunFolder(call.config, call.file).claim("supernet", ("supernet",))
    assert read("search", file).supernet.epochs == 40


def test_a_search_of_another_name_has_options_of_its_own(file):
    own = "runs/toy/config.yaml"
    run("train", file, "--search.objectives", "[kl, macs]")
    search_folder("half")
    half = ["--search.name", "half"]
    run("search", file, *half, "--search.budget", "macs=50%", "--retrain.budgets", "[40%]")
    for given in (file, own):
        plain, named = read("search", given), read("search", given, *half)
        assert (plain.search.name, plain.search.budget) == ("main", "macs=70%")
        assert plain.retrain.budgets == ["70%", "50%", "35%"]
        assert (named.search.name, named.search.budget) == ("half", "macs=50%")
        assert named.retrain.budgets == ["40%"]
        assert plain.search.objectives == named.search.objectives == ["kl", "macs"]
    assert read_yaml(own).data["search"]["name"] == "main"
    # And what a plain command is told is its own.
    run("search", file, "--search.trials", "500", "--search.budget", "macs=60%")
    for given in (file, own):
        assert read("search", given).search.budget == "macs=60%"
        assert read("search", given).search.trials == 500
        assert read("search", given, *half).search.budget == "macs=50%"
    run("search", own, *half, "--search.budget", "macs=45%")
    for given in (file, own):
        assert read("search", given, *half).search.budget == "macs=45%"
        assert read("search", given).search.budget == "macs=60%"
    file.write_text(TEXT.replace("70%", "65%"))
    assert read("search", file, *half).search.budget == "macs=65%"


def test_a_named_search_before_any_other_command_does_not_decide_what_plain_ones_mean(file):
    run("train", file, "--search.name", "half", "--search.trials", "7", "--supernet.epochs", "50")
    for given in (file, "runs/toy/config.yaml"):
        config = read("search", given)
        assert (config.search.name, config.search.trials) == ("main", 100)
        assert config.supernet.epochs == 50


def test_the_runs_own_config_is_of_the_run_wherever_it_lies(file, tmp_path):
    run("train", file, "--supernet.epochs", "50")
    own = tmp_path / "runs" / "toy" / "config.yaml"
    run("train", own, "--search.trials", "500")
    assert RunFolder(read("search", own), own).path == own.parent
    for given in (file, own):
        assert read("search", given).supernet.epochs == 50
        assert read("search", given).search.trials == 500
    moved = shutil.copytree(own.parent, tmp_path / "moved") / "config.yaml"
    assert RunFolder(read("search", moved), moved).path == moved.parent
    other = read("search", own, "--run", "elsewhere")
    assert str(RunFolder(other, own).path) == "elsewhere"
    # A copy by another name is a config as any other.
    copy = shutil.copy(own, tmp_path / "copy.yaml")
    assert RunFolder(read("search", copy), tmp_path / "copy.yaml").path.name == "copy"


def test_what_a_machine_has_is_for_each_command_to_say(file):
    options = ["--device", "cpu", "--search.workers", "3", "--search.ray.address", "10.0.0.1:6379"]
    options += ["--retrain.workers", "2", "--retrain.processes", "2", "--export.format", "onnx"]
    run("search", file, *options, "--data.workers", "0")
    plain, fresh = read("search", file), read("search", file, "--run", "other")
    assert plain.data.workers == 0
    assert replace(plain, data=fresh.data, run="other").search == fresh.search
    assert plain.retrain == fresh.retrain
    assert plain.export == fresh.export
    assert plain.device == "auto"
    # The run's own config means the same as the file.
    own = read("search", "runs/toy/config.yaml", "--run", "other")
    for section in ("search", "retrain", "export", "device"):
        assert getattr(own, section) == getattr(fresh, section)


def test_what_the_file_says_of_the_machine_is_kept_and_options_are_not(file):
    file.write_text(f"{TEXT.rstrip()}\ndevice: cpu\nretrain: {{workers: 3}}\n")
    run("search", file, "--device", "auto", "--retrain.workers", "1", "--search.workers", "2")
    for given in (file, "runs/toy/config.yaml"):
        config = read("search", given)
        assert (config.device, config.retrain.workers, config.search.workers) == ("cpu", 3, 0)


def test_failures_are_not_tried_again_because_an_earlier_command_said_so(file):
    run("retrain", file, "--search.retry_failed", "true", "--search.trials", "7")
    config = read("search", file)
    assert (config.search.retry_failed, config.search.trials) == (False, 7)


def test_values_of_a_search_are_the_runs_once_something_is_evaluated_by_them(file):
    options = ["--search.time_limit", "0.5", "--supernet.epochs", "50", "--retrain.epochs", "9"]
    RunFolder(read("run", file, *options), file).claim("supernet", ("supernet",))
    for given in (file, "runs/toy/config.yaml"):
        later = read("run", given)
        assert (later.supernet.epochs, later.retrain.epochs) == (50, 9)
        assert (later.search.time_limit, later.search.trials) == (None, 100)
    # Those of an earlier command stay.
    run("search", file, "--search.trials", "500")
    RunFolder(read("run", file, *options), file).claim("supernet", ("supernet",))
    later = read("search", file)
    assert (later.search.trials, later.search.time_limit) == (500, None)


def test_so_they_are_of_a_search_with_options_of_its_own(file):
    run("train", file)
    search_folder("half")
    half = ["--search.name", "half"]
    options = [*half, "--search.time_limit", "0.5", "--retrain.epochs", "9"]
    RunFolder(read("run", file, *options), file).claim("supernet", ("supernet",))
    later, plain = read("run", file, *half), read("run", file)
    assert (later.retrain.epochs, later.search.time_limit) == (9, None)
    assert plain.retrain.epochs == read("run", file, "--run", "other").retrain.epochs
    run("search", file, *half, "--search.trials", "7")
    RunFolder(read("run", file, *options), file).claim("supernet", ("supernet",))
    later = read("run", file, *half)
    assert (later.search.trials, later.search.time_limit) == (7, None)
    assert read("run", file).search.trials == 100


def test_a_teacher_is_taken_whole(file):
    run("train", file, "--supernet.teacher.model", "vit_tiny_patch16_224")
    assert read("search", file).supernet.teacher.model == "vit_tiny_patch16_224"
    file.write_text(TEXT.replace("lr: 0.01", "lr: 0.01, teacher: {model: vit_small_patch16_224}"))
    assert read("search", file).supernet.teacher.model == "vit_small_patch16_224"


def test_values_of_the_run_that_do_not_go_with_the_file_are_one_line(file, tmp_path):
    run("train", file, "--supernet.epochs", "50")
    file.write_text(TEXT.replace("lr: 0.01", "full_epochs: 60, lr: 0.01"))
    with pytest.raises(InputError) as caught:
        read("search", file)
    message = str(caught.value)
    assert "supernet.full_epochs: must lie in 0 to" in message
    file.write_text(TEXT)
    stored = tmp_path / "runs" / "toy" / "config.yaml"
    stored.write_text(stored.read_text().replace("epochs: 50", "epochs: many"))
    with pytest.raises(InputError) as caught:
        read("search", file)
    assert str(caught.value) == (
        f"{file} with the values of runs/toy: --supernet.epochs: must be a whole number, got many"
    )
    stored.write_text("- 1\n")
    with pytest.raises(InputError, match=r"runs/toy/config\.yaml:1: must be a mapping"):
        read("search", file)


def test_options_of_training_need_not_be_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text(
        CONFIG + "search: {trials: 4}\nretrain: {epochs: 1, budgets: [], full: true}\n"
    )
    options = ["--supernet.epochs", "2", "--seed", "5", "--space.pool", "null"]
    assert main(["train", "toy.yaml", *options]) == 0
    assert "top1 on 37 held-out images" in " ".join(capsys.readouterr().err.split())
    assert main(["search", "toy.yaml", "--search.storage", "sqlite:///trials.db"]) == 0
    told = capsys.readouterr().out.partition("earlier commands in runs/toy: ")[2].splitlines()[0]
    assert shlex.split(told)[:3] == ["--seed", "5", "--space"]
    assert json.loads(shlex.split(told)[3])["pool"] is None
    for command in ("search", "export", "retrain"):
        assert main([command, "toy.yaml"]) == 0
    assert "top1 on 37 held-out images" in capsys.readouterr().err
    for own in ("runs/toy/config.yaml", "runs/toy"):
        assert main(["search", own]) == 0
    assert not (tmp_path / "runs" / "toy" / "search" / "main" / "journal.log").exists()
    assert not (tmp_path / "runs" / "config").exists()
    capsys.readouterr()
    assert main(["search", "toy.yaml", "--seed", "6"]) == 2
    assert "seed was 5, is 6" in capsys.readouterr().err
    text = (tmp_path / "toy.yaml").read_text()
    (tmp_path / "toy.yaml").write_text(text.replace("epochs: 1, random", "epochs: 3, random"))
    for command in ("search", "train"):
        assert main([command, "toy.yaml"]) == 2
        assert "supernet.epochs was 2, is 3" in capsys.readouterr().err


def test_values_by_which_nothing_works_are_not_the_runs_even_after_a_success(searched, run, capsys):
    command = ["search", str(searched), "--run", str(run), "--search.name", "later"]
    assert main([*command, "--search.trials", "4"]) == 0
    assert main([*command, "--search.trials", "7", "--search.time_limit", "1e-6"]) == 0
    assert "7 evaluations, 3 failed" in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--search.trials", "9"]) == 0
    told = capsys.readouterr().out
    assert "time_limit" not in told
    assert OPTIMISTIC in told
    assert "9 evaluations, 3 failed" in " ".join(told.split())


def test_values_by_which_the_search_of_a_whole_run_fails_are_not_the_runs(tmp_path, capsys):
    config = tmp_path / "toy.yaml"
    config.write_text(CONFIG + "search: {trials: 4}\nretrain: {epochs: 1, budgets: []}\n")
    command = ["run", str(config), "--run", str(tmp_path / "run")]
    assert main([*command, "--search.time_limit", "1e-6", "--supernet.epochs", "2"]) == 2
    assert "none of the 4 evaluations succeeded" in capsys.readouterr().err
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "--supernet.epochs 2" in out
    assert "time_limit" not in out
    assert "4 evaluations, 0 failed" in " ".join(out.split())
    # Nor are those by which a search that had a front has only failed since.
    assert main([*command, "--search.trials", "7", "--search.time_limit", "1e-6"]) == 0
    assert "7 evaluations, 3 failed" in " ".join(capsys.readouterr().out.split())
    assert main(["search", *command[1:], "--search.trials", "9"]) == 0
    out = capsys.readouterr().out
    assert "time_limit" not in out
    assert "9 evaluations, 3 failed" in " ".join(out.split())
