"""NYU Depth V2's labelled set, as MATLAB has written it."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from dense_toys import dense_backbone, dense_task
from nyu_toys import SCENES, write_nyu
from scipy.io import savemat

from space import InputError
from supernet.config import DataConfig, DatasetConfig
from supernet.data.sources import open_sources
from supernet.data.splits import open_data


@pytest.fixture
def nyu(tmp_path):
    return write_nyu(tmp_path)


def refused(config, **values):
    with pytest.raises(InputError) as caught:
        open_sources(DatasetConfig(**{**config, **values}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("maps", [None, "depths", "rawDepths", "labels"])
def test_images_and_maps_are_those_of_matlab(nyu, maps):
    config, arrays, order = nyu
    train, test = open_sources(DatasetConfig(**config, targets=maps))
    assert (len(train), len(test)) == (8, 4)
    for source, numbers in ((train, order[:8]), (test, order[8:])):
        for i, number in enumerate(numbers):
            image, target = source.read(i)
            np.testing.assert_array_equal(np.asarray(image), arrays["images"][..., number])
            np.testing.assert_array_equal(target, arrays[maps or "depths"][..., number])
            assert target.flags.c_contiguous
    assert train.has_maps
    assert train.classes == ()


def test_the_scenes_of_the_file_are_known(nyu):
    config, _, order = nyu
    train, _ = open_sources(DatasetConfig(**config))
    texts = [SCENES[i % len(SCENES)] for i in order[:8]]
    assert len({*zip(texts, train.scenes.tolist(), strict=True)}) == len({*texts})


def test_the_files_may_be_named_by_their_folder(nyu, tmp_path):
    config, _, _ = nyu
    assert len(open_sources(DatasetConfig("nyu", str(tmp_path)))[0]) == 8
    (tmp_path / "splits.mat").rename(tmp_path / "mine.mat")
    assert len(open_sources(DatasetConfig(**config, test="mine.mat"))[0]) == 8
    assert refused(config) == (
        f"data.dataset.test: {tmp_path}/splits.mat does not exist; it is the official split, "
        "splits.mat"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_read_in_processes_and_threads(nyu, workers):
    config, arrays, order = nyu
    data = DataConfig(DatasetConfig(**config), batch=2, workers=workers, search_share=0.3)
    opened = open_data(data, dense_backbone(), 0, task=dense_task())
    (batch,) = opened.test
    wanted = np.moveaxis(arrays["depths"][..., order[8:]], -1, 0)
    np.testing.assert_array_equal(batch.targets, wanted)
    assert sum(len(each.targets) for each in opened.train.epoch(0)) > 0
    test = pickle.loads(pickle.dumps(opened.test.dataset.source))
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(test.read, [*range(4)] * 10))
    np.testing.assert_array_equal([target for _, target in read[-4:]], wanted)


def test_no_scene_is_trained_on_and_ranks_archs_too(nyu):
    config, _, _ = nyu
    data = DataConfig(DatasetConfig(**config), batch=2, workers=0, search_share=0.3)
    for seed in range(5):
        opened = open_data(data, dense_backbone(), seed, task=dense_task())
        train = opened.train.images
        scenes = train.source.scenes
        assert not {*scenes[train.indices]} & {*scenes[opened.search_indices]}
        assert len(opened.search_indices) + len(train) == 8


def test_a_changed_file_has_other_digests(nyu, tmp_path):
    config, _, _ = nyu
    train, _ = open_sources(DatasetConfig(**config))
    before = [train.digest(i) for i in range(8)]
    assert len({*before}) == 8
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as file:
        file["more"] = np.zeros(1000)
    assert not {*before} & {train.digest(i) for i in range(8)}


def test_the_keys_of_pairs_are_refused(nyu):
    config, _, _ = nyu
    for key in ("images", "train", "scenes"):
        assert refused(config, **{key: "x"}) == f"data.dataset.{key}: is for pairs, not for nyu"
    assert refused(config, args={"a": 1}).startswith("data.dataset.args: is for data sets whose ")
    assert refused(config, targets="depth") == (
        "data.dataset.targets: must be one of depths, rawDepths, labels, got 'depth'; did you mean "
        "'depths'?"
    )
    assert refused(config, root=None).startswith("data.dataset.root: missing; it names the file ")


def test_without_h5py_the_extra_is_named(nyu, monkeypatch):
    monkeypatch.setattr("supernet.data.nyu.find_spec", lambda _: None)
    assert refused(nyu[0]).endswith("nyu needs h5py, not installed here: pip install "
                                    "'tokennas[dense]'")  # fmt: skip


def test_a_file_of_other_contents_is_named(nyu, tmp_path):
    config, _, _ = nyu
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    not_nyu = f"{path}: not NYU's labelled set: "
    with h5py.File(path, "r+") as file:
        del file["labels"]
        file["labels"] = np.zeros((3, 8, 6))
    assert refused(config, targets="labels") == f"{not_nyu}it has 12 images, 3 labels, 12 scenes"
    with h5py.File(path, "r+") as file:
        del file["labels"], file["scenes"]
        file["scenes"] = np.zeros(12)
    assert refused(config, targets="labels") == f"{not_nyu}has no array 'labels'"
    assert refused(config).startswith(not_nyu)
    path.write_bytes(b"no mat file")
    assert refused(config).startswith(not_nyu)
    path.unlink()
    assert refused(config) == f"data.dataset.root: {path} does not exist"
    gone = tmp_path / "gone"
    assert refused(config, root=str(gone)) == f"data.dataset.root: {gone} does not exist"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"trainNdxs": [1, 2], "testNdxs": [2, 3]}, "an image is in both splits, or twice in one"),
        ({"trainNdxs": [1, 1], "testNdxs": [2, 3]}, "an image is in both splits, or twice in one"),
        ({"trainNdxs": [0, 1], "testNdxs": [2, 3]}, "must be numbers of 1 to 12, .* got 0 to 3"),
        ({"trainNdxs": [1, 2], "testNdxs": [3, 13]}, "must be numbers of 1 to 12, .* got 1 to 13"),
        ({"trainNdxs": [1, 2], "testNdxs": []}, "testNdxs is empty"),
        ({"trainNdxs": [1, 2]}, "not NYU's splits.mat: KeyError: 'testNdxs'"),
    ],
)
def test_a_split_of_other_images_is_refused(nyu, tmp_path, splits, message):
    savemat(tmp_path / "splits.mat", splits)
    told = refused(nyu[0])
    assert told.startswith(f"{tmp_path}/splits.mat: ")
    with pytest.raises(InputError, match=f"{message}$"):
        open_sources(DatasetConfig(**nyu[0]))


def test_a_damaged_entry_is_named_as_in_matlab(nyu, tmp_path):
    config, _, order = nyu
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as file:
        del file["depths"], file["images"]
        file["depths"], file["images"] = np.zeros((12, 2, 8, 6)), np.zeros((12, 8, 6))
    train, _ = open_sources(DatasetConfig(**config))
    place = f"{tmp_path}/nyu_depth_v2_labeled.mat: "
    number = int(order[3]) + 1
    with pytest.raises(InputError) as caught:
        train.reader(3)
    assert str(caught.value).startswith(f"{place}images({number}): image 3 of train cannot be ")
    with pytest.raises(InputError) as caught:
        train.targets[3]
    assert str(caught.value) == (
        f"{place}depths({number}): must have two axes, got the shape (6, 8, 2)"
    )
