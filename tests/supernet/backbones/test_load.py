import pickle

import pytest
import timm
import torch
from dense_toys import SECTIONS, dense_task
from weights_toys import ARGS, MODEL, checkpoint, download

from space import InputError
from supernet.backbones.load import BackboneConfig, load_backbone, load_checkpoint_file
from supernet.tasks.classification import Classification
from supernet.weights import save_weights


def labels(count):
    return Classification([str(i) for i in range(count)])


def load(path, classes=5, **args):
    config = BackboneConfig(MODEL, {**ARGS, **args}, checkpoint=str(path))
    return load_backbone(config, labels(classes), seed=0)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_a_timm_checkpoint_gives_the_models_logits(tmp_path, name):
    model = checkpoint(tmp_path / name).eval()
    loaded = load(tmp_path / name)
    images = torch.randn(2, 3, 32, 32)
    assert not loaded.head_reset
    assert torch.equal(loaded.backbone.eval()(images), model(images))


def test_other_classes_reset_the_head_and_keep_the_rest(tmp_path):
    model = checkpoint(tmp_path / "a.pth", classes=7)
    loaded = load(tmp_path / "a.pth", classes=3)
    assert loaded.head_reset
    assert loaded.backbone.num_classes == 3
    own = loaded.backbone.state_dict()
    assert all(torch.equal(own[k], v) for k, v in model.state_dict().items() if "head" not in k)


def test_positions_of_another_size_are_brought_to_this_one(tmp_path):
    checkpoint(tmp_path / "a.pth", img_size=64)
    assert load(tmp_path / "a.pth").backbone.pos_embed.shape[1] == 17


def test_without_weights_a_new_head_is_no_reset():
    task = Classification(("a", "b"))
    loaded = load_backbone(BackboneConfig(MODEL, ARGS), task, seed=0)
    assert not loaded.head_reset
    assert loaded.backbone.num_classes == 2


@pytest.mark.parametrize("args", [{}, {"num_classes": 10}])
def test_a_download_of_other_classes_has_its_head_reset(tmp_path, monkeypatch, args):
    model = checkpoint(tmp_path / "a.pth", classes=1000)
    state = torch.random.get_rng_state()
    loaded = download(monkeypatch, tmp_path / "a.pth", labels(10), **args)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert loaded.head_reset
    torch.manual_seed(5)
    again = download(monkeypatch, tmp_path / "a.pth", labels(10), **args)
    own, twin = loaded.backbone.state_dict(), again.backbone.state_dict()
    assert all(torch.equal(own[k], twin[k]) for k in own)
    assert own["head.weight"].shape[0] == 10
    assert all(torch.equal(own[k], v) for k, v in model.state_dict().items() if "head" not in k)


def test_a_download_keeps_a_head_that_fits(tmp_path, monkeypatch):
    model = checkpoint(tmp_path / "a.pth", classes=1000)
    loaded = download(monkeypatch, tmp_path / "a.pth", labels(1000))
    assert not loaded.head_reset
    assert torch.equal(loaded.backbone.head.weight, model.head.weight)


@pytest.mark.parametrize("args", [{}, {"num_classes": 10}])
def test_a_download_without_a_head_gets_one(tmp_path, monkeypatch, args):
    checkpoint(tmp_path / "a.pth", classes=0)
    loaded = download(monkeypatch, tmp_path / "a.pth", labels(10), {"num_classes": 0}, **args)
    assert loaded.head_reset
    assert loaded.backbone.num_classes == 10


@pytest.mark.parametrize("classes", [3, 1000, 0, None, "ten"])
@pytest.mark.parametrize("given", [{}, {"checkpoint": "a.pth"}, {"pretrained": True}])
def test_another_number_of_classes_than_the_datas_is_refused(given, classes):
    config = BackboneConfig(MODEL, {**ARGS, "num_classes": classes}, **given)
    with pytest.raises(InputError) as caught:
        load_backbone(config, labels(10), seed=0)
    assert str(caught.value) == (
        f"args of {MODEL}: num_classes is {classes!r}, the data 10 classes; leave it out: the "
        "head takes the number from the data"
    )


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a checkpoint ran code')",)


def test_what_does_not_fit_or_is_no_checkpoint_is_one_line(tmp_path):
    checkpoint(tmp_path / "wide.pth", embed_dim=32)
    checkpoint(tmp_path / "gray.pth", in_chans=1)
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    torch.save([1, 2], tmp_path / "list.pth")
    with (tmp_path / "evil.pth").open("wb") as file:
        pickle.dump({"state_dict": Evil()}, file)
    for name, words in {
        "gone.pth": "does not exist",
        "wide.pth": "does not fit",
        "gray.pth": "does not fit",
        "text.pth": "no checkpoint that can be read",
        "cut.safetensors": "no checkpoint that can be read",
        "list.pth": "",
        "evil.pth": "no checkpoint that can be read",
    }.items():
        with pytest.raises(InputError) as caught:
            load(tmp_path / name)
        assert words in str(caught.value)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_checkpoint_and_pretrained_together_are_refused():
    config = BackboneConfig(MODEL, ARGS, checkpoint="a", pretrained=True)
    with pytest.raises(InputError, match="not both"):
        load_backbone(config, Classification(("a",)), seed=0)


DENSE_ARGS = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}


def dense_checkpoint(path, section, **args):
    """A backbone with the trained head of a task, as its user would save it."""
    torch.manual_seed(1)
    backbone = timm.create_model(MODEL, **{**DENSE_ARGS, **args})
    dense_task(section).reset_head(backbone, 1)
    with torch.no_grad():
        for tensor in backbone.head.state_dict().values():
            tensor.add_(1)
    torch.save(backbone.state_dict(), path)
    return backbone


def load_dense(path, section, **args):
    config = BackboneConfig(MODEL, {**DENSE_ARGS, **args}, checkpoint=str(path))
    return load_backbone(config, dense_task(section), seed=0)


def same(loaded, saved, head):
    """Whether all weights are those of the checkpoint, the head's too, or all but the head's."""
    own = loaded.state_dict()
    names = [name for name in saved.state_dict() if head or not name.startswith("head")]
    assert names
    return all(torch.equal(own[name], saved.state_dict()[name]) for name in names)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_checkpoint_with_the_tasks_head_keeps_it(tmp_path, section):
    path = tmp_path / "a.pth"
    for args in ({}, {"class_token": False, "global_pool": "map"}):
        saved = dense_checkpoint(path, section, **args)
        loaded = load_dense(path, section, **args)
        assert not loaded.head_reset
        assert dense_task(section).fits(loaded.backbone)
        assert same(loaded.backbone, saved, head=True)


@pytest.mark.parametrize("classes", [0, 7])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_download_gets_the_head_of_a_dense_task(tmp_path, monkeypatch, section, classes):
    saved = checkpoint(tmp_path / "a.pth", classes, **DENSE_ARGS)
    task, overlay = dense_task(section), {"num_classes": classes}
    loaded, again = (
        download(monkeypatch, tmp_path / "a.pth", task, overlay, **DENSE_ARGS) for _ in range(2)
    )
    assert loaded.head_reset
    assert task.fits(loaded.backbone)
    assert same(loaded.backbone, saved, head=False)
    assert same(again.backbone, loaded.backbone, head=True)


@pytest.mark.parametrize("classes", [0, 7])
@pytest.mark.parametrize("section", SECTIONS)
def test_a_checkpoint_of_another_head_or_none_gets_the_tasks(tmp_path, section, classes):
    path = tmp_path / "a.safetensors"
    saved = checkpoint(path, classes, **DENSE_ARGS)
    loaded = load_dense(path, section)
    assert loaded.head_reset
    assert dense_task(section).fits(loaded.backbone)
    assert same(loaded.backbone, saved, head=False)
    torch.manual_seed(5)  # the same new head each time
    assert same(load_dense(path, section).backbone, loaded.backbone, head=True)


@pytest.mark.parametrize("other", ["depth", "depth_log", "depth_dpt"])
def test_from_one_dense_task_to_another_the_backbone_stays(tmp_path, other):
    for args in ({}, {"class_token": False, "global_pool": "map"}):
        saved = dense_checkpoint(tmp_path / "a.pth", other, **args)
        loaded = load_dense(tmp_path / "a.pth", "segmentation", **args)
        assert loaded.head_reset
        assert same(loaded.backbone, saved, head=False)


@pytest.mark.parametrize(
    "other",
    [{"name": "depth", "max_depth": 80.0}, {"name": "depth", "head": {"blocks": [0, 1, 3]}}],
    ids=str,
)
def test_a_head_of_the_same_layers_that_learned_another_task_is_not_taken(tmp_path, other):
    path, section = tmp_path / "a.safetensors", {"name": "depth", "head": {"blocks": [1, 2, 3]}}
    saved = dense_checkpoint(tmp_path / "a.pth", section)
    for learned, head_reset in ((section, False), (other, True)):
        save_weights(saved, path, dense_task(learned).metadata)
        loaded = load_dense(path, section)
        assert loaded.head_reset is head_reset
        assert same(loaded.backbone, saved, head=not head_reset)
    # Weights that do not say it are taken by their sizes.
    save_weights(saved, path)
    assert not load_dense(path, section).head_reset


LABELS = {"name": "segmentation", "classes": 3}


@pytest.mark.parametrize(
    ("learned", "section"),
    [
        ({"name": "depth"}, {"name": "depth", "head": {"blocks": [0, 1, 2, 3]}}),
        ({"name": "depth", "head": {"blocks": [0, 1, 2, 3]}}, {"name": "depth"}),
        (LABELS, {**LABELS, "classes": ["a", "b", "c"]}),
        (LABELS, {**LABELS, "ignore": 2}),
    ],
    ids=str,
)
def test_a_head_that_another_section_describes_is_the_same(tmp_path, learned, section):
    path, saved = tmp_path / "a.safetensors", dense_checkpoint(tmp_path / "a.pth", learned)
    save_weights(saved, path, dense_task(learned).metadata)
    loaded = load_dense(path, section)
    assert not loaded.head_reset
    assert same(loaded.backbone, saved, head=True)


@pytest.mark.parametrize(
    "text", ["no JSON", '{"name": "nobody"}', '["depth"]', '{"name": "depth", "new": 1}']
)
def test_a_head_of_a_task_that_is_not_known_is_not_taken(tmp_path, text):
    path, saved = tmp_path / "a.safetensors", dense_checkpoint(tmp_path / "a.pth", "depth")
    save_weights(saved, path, {"task": text})
    loaded = load_dense(path, "depth")
    assert loaded.head_reset
    assert same(loaded.backbone, saved, head=False)


def test_from_maps_to_labels_the_backbone_stays(tmp_path):
    saved = dense_checkpoint(tmp_path / "a.pth", "depth")
    loaded = load(tmp_path / "a.pth", **DENSE_ARGS)
    assert loaded.head_reset
    assert loaded.backbone.num_classes == 5
    assert same(loaded.backbone, saved, head=False)


def test_a_local_checkpoint_without_a_head_gets_one(tmp_path):
    saved = checkpoint(tmp_path / "a.pth", classes=0)
    loaded = load(tmp_path / "a.pth", classes=3)
    assert loaded.head_reset
    assert same(loaded.backbone, saved, head=False)
    # Without a task nobody would make another head.
    with pytest.raises(InputError, match="does not fit VisionTransformer"):
        load_checkpoint_file(timm.create_model(MODEL, **ARGS), tmp_path / "a.pth")


def test_positions_of_another_size_fit_under_a_dense_head(tmp_path):
    dense_checkpoint(tmp_path / "a.pth", "depth", img_size=64)
    loaded = load_dense(tmp_path / "a.pth", "depth")
    assert not loaded.head_reset
    assert loaded.backbone.pos_embed.shape[1] == 17


def test_a_task_that_the_backbone_does_not_suit_is_told_by_its_own_words(tmp_path):
    dense_checkpoint(tmp_path / "a.pth", "depth")
    with pytest.raises(InputError, match=r"^task.head.blocks: must end with the last block"):
        load_dense(tmp_path / "a.pth", {"name": "depth", "head": {"blocks": [0]}})
    with pytest.raises(InputError) as error:
        load_dense(tmp_path / "a.pth", "depth", num_classes=10)
    assert str(error.value) == (
        f"args of {MODEL}: num_classes is 10, the task depth a linear head; leave it out: the head "
        "is the task's own"
    )
