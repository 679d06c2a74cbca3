import json
import time

import pytest
import torch
from training_toys import (
    EVERYTHING,
    random_loader,
    same_weights,
    toy_backbone,
    toy_data,
    toy_supernet,
    toy_task,
)

from space import Arch, BlockArch, InputError, Pool, SearchSpace
from supernet import Supernet, extract
from supernet.data.splits import DataConfig, open_data
from supernet.operators.skipping import SelectorLearning
from supernet.training.checkpoint import previous_path
from supernet.training.retrain import RetrainRecipe, retrain
from supernet.training.sandwich import Sandwich
from supernet.training.train_supernet import SupernetRecipe, train_supernet

OWN = BlockArch()
RECIPE = SupernetRecipe(epochs=2, lr=1e-3, ema=0.9, random_archs=1, save_minutes=0.0, watch=1)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def run(folder, workers=0, stop_at=None, monkeypatch=None, **values):
    supernet = toy_supernet(drop_path_rate=0.2)
    data = toy_data(supernet, workers, **EVERYTHING)
    if stop_at is not None:
        call, calls = Sandwich.__call__, []

        def stopping(self, *args):
            calls.append(None)
            if len(calls) > stop_at:
                raise Killed
            return call(self, *args)

        monkeypatch.setattr(Sandwich, "__call__", stopping)
    task = toy_task(mixup=0.8, cutmix=1.0)
    return train_supernet(
        supernet,
        data.train,
        task=task,
        held_out=data.search,
        folder=folder,
        seed=1,
        **{"recipe": RECIPE, "quiet": True, **values},
    )


@pytest.mark.parametrize("stop_at", [0, 3, 5, 7])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, monkeypatch, stop_at
):
    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        run(tmp_path / "cut", stop_at=stop_at, monkeypatch=patch)
    resumed = run(tmp_path / "cut", workers=2)
    assert same_weights(whole, resumed)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    timing = ("images_per_second", "seconds")
    first, second = ([{k: v for k, v in row.items() if k not in timing} for row in r] for r in rows)
    assert first == second
    assert [row["epoch"] for row in first] == [0, 1]


@pytest.mark.parametrize(
    "free",
    [{"save_minutes": 1.0}, {"grad_checkpointing": True}, {"watch": 0}],
    ids=lambda free: next(iter(free)),
)
def test_it_goes_on_with_other_values_of_what_changes_no_weights(tmp_path, monkeypatch, free):
    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        run(tmp_path / "cut", stop_at=3, monkeypatch=patch)
    other = SupernetRecipe(**{**vars(RECIPE), **free})
    assert other != RECIPE
    assert same_weights(whole, run(tmp_path / "cut", recipe=other))


def test_another_recipe_is_refused_and_nothing_changes(tmp_path):
    run(tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match=r"lr was 0\.001, is 0\.01"):
        run(tmp_path, recipe=SupernetRecipe(**{**vars(RECIPE), "lr": 0.01}))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_another_batch_size_is_refused(tmp_path):
    def train(batch):
        supernet = toy_supernet()
        config = DataConfig(batch=batch, workers=0, train_limit=100, search_share=0.2)
        data = open_data(config, supernet, seed=3)
        recipe = SupernetRecipe(epochs=1, random_archs=0)
        train_supernet(
            supernet, data.train, task=toy_task(), recipe=recipe, folder=tmp_path, quiet=True
        )

    train(16)
    with pytest.raises(
        InputError, match="another training: it has another number of steps in an epoch"
    ):
        train(32)


def test_another_arch_space_or_task_is_refused(tmp_path):
    supernet = toy_supernet()
    archs = [
        Arch(tuple(BlockArch(pool=Pool("avg2d", (2, 2))) if i == at else OWN for i in range(4)))
        for at in (1, 3)
    ]

    def again(folder, arch, **task):
        recipe = RetrainRecipe(epochs=1)
        return retrain(
            extract(supernet, arch),
            random_loader(),
            task=toy_task(**task),
            recipe=recipe,
            folder=tmp_path / folder,
            quiet=True,
        )

    first = again("a", archs[0])
    assert same_weights(first, again("a", archs[0]))
    with pytest.raises(InputError, match="the folder holds another training: it has another arch;"):
        again("a", archs[1])
    with pytest.raises(InputError, match="it has another task;"):
        again("a", archs[0], smoothing=0.3)

    def train(supernet):
        recipe = SupernetRecipe(epochs=1, random_archs=0)
        train_supernet(
            supernet,
            random_loader(),
            task=toy_task(),
            recipe=recipe,
            folder=tmp_path / "b",
            quiet=True,
        )

    train(supernet)
    space = SearchSpace.from_dict({"share": {"max_run": 1}}, supernet.shape)
    with pytest.raises(InputError, match="it has another space;"):
        train(Supernet(toy_backbone(), space))


def test_after_a_torn_checkpoint_training_goes_on_from_the_one_before(
    tmp_path, monkeypatch, capsys
):
    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        run(tmp_path / "cut", stop_at=3, monkeypatch=patch)
    path = tmp_path / "cut" / "checkpoint.pt"
    before = torch.load(previous_path(path), weights_only=True)["position"]
    newest = torch.load(path, weights_only=True)["position"]
    assert (before["epoch"], before["step"]) < (newest["epoch"], newest["step"])
    torn = path.read_bytes()[:1000]
    path.write_bytes(torn)
    assert same_weights(whole, run(tmp_path / "cut", quiet=False))
    said = capsys.readouterr().err
    assert "not an intact checkpoint" in said
    assert "going on from the checkpoint before" in said
    assert path.with_name("checkpoint.pt.broken").read_bytes() == torn


@pytest.mark.parametrize("stop_at", [None, 2])
def test_retraining_goes_on_and_trains_the_subnets_selectors(tmp_path, monkeypatch, stop_at):
    supernet = toy_supernet()
    arch = next(
        arch
        for arch in map(supernet.space.graph.path, range(supernet.space.size()))
        if any(block.skip and block.selector == "map" for block in arch.blocks)
    )
    recipe = RetrainRecipe(epochs=2, ema=0.9, save_minutes=0.0)

    def again(folder):
        torch.manual_seed(0)
        subnet = extract(supernet, arch)
        data = toy_data(supernet, **EVERYTHING)
        return retrain(
            subnet,
            data.train,
            task=toy_task(mixup=0.5),
            recipe=recipe,
            held_out=data.search,
            teacher=toy_supernet_teacher(supernet),
            folder=folder,
            quiet=True,
        )

    whole = again(tmp_path / "whole")
    start = extract(supernet, arch).state_dict()
    learned = [name for name in start if name.startswith("selectors.")]
    assert learned
    assert any(not torch.equal(whole.state_dict()[name], start[name]) for name in learned)
    if stop_at is not None:
        call, calls = SelectorLearning.__init__, []

        def stopping(self, *args):
            calls.append(None)
            if len(calls) > stop_at:
                raise Killed
            call(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(SelectorLearning, "__init__", stopping)
            with pytest.raises(Killed):
                again(tmp_path / "cut")
        assert same_weights(whole, again(tmp_path / "cut"))


def toy_supernet_teacher(supernet):
    return extract(supernet, supernet.space.largest())


def test_progress_is_kept_by_time_inside_an_epoch(tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        run(tmp_path, stop_at=2, monkeypatch=patch)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["position"]["step"] == 2
    assert time.time() - (tmp_path / "checkpoint.pt").stat().st_mtime < 60
