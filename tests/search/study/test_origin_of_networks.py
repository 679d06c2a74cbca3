"""Results of one supernet on some images are not taken for those of others, in the same folder."""

import copy
import logging

import pytest
import torch
from dense_toys import dense_supernet, dense_task
from search_toys import Evaluate, all_archs
from stored import SPACE
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from training_toys import toy_task

from search import run_search
from search.evaluators.supernet import hash_images, hash_weights
from search.pipeline.context import digest
from space import InputError, SearchSpace
from supernet import Supernet, backbone_shape, save_weights

SCALE = 0.5
LOG = logging.getLogger(__name__)
TOYS = Evaluate(SPACE)


def net(seed=0, activation=nn.GELU):
    torch.manual_seed(seed)
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2}
    backbone = VisionTransformer(**sizes, num_classes=5, act_layer=activation)
    config = {"pool": {"kinds": ["avg2d"], "grids": [2]}, "skip": {"ratios": [0.5]}}
    return Supernet(backbone, SearchSpace.from_dict(config, backbone_shape(backbone)))


def images(seed=1, batches=(6, 6)):
    rng = torch.Generator().manual_seed(seed)
    whole = torch.randn(12, 3, 16, 16, generator=rng), torch.randint(5, (12,), generator=rng)
    return list(zip(*(part.split(list(batches)) for part in whole), strict=True))


def margin(logits, targets):
    return {"margin": (logits.amax(1) - logits.mean(1)).mean()}


def shifted(logits, targets):
    return {"margin": (logits.amax(1) - logits.mean(1)).mean() - 1}


@pytest.mark.parametrize(
    "values", [{}, {"metric": margin, "objectives": ["margin=max", "macs"]}], ids=["usual", "own"]
)
def test_another_supernet_or_loader_is_refused_and_the_same_goes_on(tmp_path, values):
    def searched(trials=5, supernet=None, loader=None, **others):
        given = {"loader": loader or images(), "folder": tmp_path, "trials": trials}
        return run_search(supernet or net(), **(given | values | others))

    front = searched()
    assert searched() == front
    # In other batches, in another order, the metrics are the same.
    assert searched(7, loader=images(batches=(8, 4))[::-1]).evaluations == 7
    targets = [(batch, labels.flip(0)) for batch, labels in images()]
    for trials in (7, 9):
        for change, place in (
            ({"supernet": net(1)}, "supernet"),
            ({"supernet": net(activation=nn.Tanh)}, "layers"),
            ({"loader": images(2)}, "images"),
            ({"loader": images()[:1]}, "images"),
            ({"loader": targets}, "images"),
        ):
            words = (
                rf"origin\.{place} was '\w+' in the results that are there, and is '\w+'; .*folder"
            )
            with pytest.raises(InputError, match=words) as caught:
                searched(trials, **change)
            assert "\n" not in str(caught.value)
    if values:
        with pytest.raises(InputError, match="come from other code"):
            searched(9, metric=shifted)
    assert searched(8).evaluations == 8


@pytest.mark.parametrize("section", [None, "depth"])
def test_weights_are_hashed_as_the_command_line_hashes_them(tmp_path, section):
    supernet = net() if section is None else dense_supernet(section)
    other = copy.deepcopy(supernet)
    other.norm.weight.data += 1
    task = toy_task() if section is None else dense_task(section)
    save_weights(supernet, tmp_path / "supernet.safetensors", task.metadata)
    assert hash_weights(supernet, task) == digest(tmp_path / "supernet.safetensors")
    assert hash_weights(other, task) != hash_weights(supernet, task)


def test_of_images_all_counts_but_their_order():
    whole = images()
    assert hash_images(whole) == hash_images(images(batches=(1, 11)))
    assert hash_images(whole) == hash_images(whole[::-1])
    assert hash_images(whole) != hash_images([*whole, whole[0]])
    assert hash_images(whole) != hash_images([(x.half(), y) for x, y in whole])
    half = [(x.bfloat16(), y) for x, y in whole]
    assert hash_images(half) == hash_images(half)


@pytest.mark.parametrize("metric", [None, margin])
@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ([], "loader: must have images to evaluate on, got none"),
        ([(torch.zeros(0, 3, 16, 16), torch.zeros(0).long())], "loader: must have images"),
        (3, r"loader: must give batches of \(images, targets\), got 3"),
    ],
)
def test_a_loader_without_images_is_one_line(loader, says, metric):
    objectives = ["margin=max", "macs"] if metric else ["top1", "macs"]
    with pytest.raises(InputError, match=f"^{says}"):
        run_search(net(), loader=loader, metric=metric, objectives=objectives, trials=2)


def test_a_search_in_memory_hashes_nothing(monkeypatch):
    monkeypatch.setattr(
        "search.evaluators.supernet.hash_images", lambda batches: pytest.fail("hashed")
    )
    assert run_search(net(), loader=images(), trials=3).evaluations == 3
    assert len(all_archs(SPACE)) > 3
