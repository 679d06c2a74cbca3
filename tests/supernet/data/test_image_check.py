import os
import shutil
import tarfile
from itertools import pairwise

import numpy as np
import pytest
from image_toys import image_folder
from training_toys import toy_backbone

from space import InputError
from supernet.data.image_check import check_images
from supernet.data.image_reading import DatasetReader
from supernet.data.sources import DatasetConfig
from supernet.data.splits import DataConfig, open_data


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "run" / "good.bin"


@pytest.fixture
def opened(monkeypatch):
    """Files that are opened, in no order."""
    found = []
    real = open

    def note(path, *args, **kwargs):
        found.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr("timm.data.readers.reader_image_folder.open", note, raising=False)
    return found


def splits(dataset, **values):
    config = DataConfig(dataset=dataset, batch=2, workers=0, search_share=0.34, **values)
    data = open_data(config, toy_backbone(), seed=0)
    return data.train.images, data.search.dataset, data.test.dataset


def refused(*args):
    with pytest.raises(InputError) as caught:
        check_images(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_file_is_opened_once_and_then_only_what_is_new_or_changed(tmp_path, kept, opened):
    config = image_folder(tmp_path)
    files = sorted(map(str, tmp_path.rglob("*.png")))
    assert len(files) == 24
    check_images(splits(config), kept)
    assert sorted(opened) == files
    opened.clear()
    check_images(splits(config), kept)
    assert opened == []
    touched, new = files[3], str(tmp_path / "val" / "dog" / "new.png")
    os.utime(touched, ns=(0, 1))
    shutil.copy(files[0], new)
    check_images(splits(config), kept)
    assert sorted(opened) == sorted([touched, new])


def test_what_limits_leave_out_is_not_opened_before_it_is_read(tmp_path, kept, opened):
    config = image_folder(tmp_path)
    check_images(splits(config, train_limit=8, test_limit=3), kept)
    assert len(opened) == 8 + 3
    check_images(splits(config), kept)
    assert len(opened) == len(set(opened)) == 24


def test_all_bad_files_are_counted_and_the_good_ones_are_not_opened_again(tmp_path, kept, opened):
    config = image_folder(tmp_path)
    files = sorted(tmp_path.rglob("*.png"))
    for file in files[:5]:
        # Cut off: the header can still be read.
        file.write_bytes(file.read_bytes()[:-200])
    message = refused(splits(config), kept)
    assert message.startswith("5 of 24 images cannot be used: ")
    assert message.count("cannot be read: ") == 3
    assert message.endswith("; and 2 more")
    assert all(str(tmp_path) in part for part in message.split("; ")[:3])
    opened.clear()
    for file in files[:5]:
        file.write_bytes(files[5].read_bytes())
    check_images(splits(config), kept)
    assert sorted(opened) == sorted(map(str, files[:5]))


def test_one_bad_test_image_is_named(tmp_path, kept):
    config = image_folder(tmp_path)
    broken = tmp_path / "val" / "dog" / "3.png"
    broken.write_bytes(b"no image")
    name = f"{broken}: image 9 of validation cannot be read: "
    assert name in refused(splits(config), kept)
    broken.unlink()
    broken.symlink_to(tmp_path / "gone.png")
    assert name in refused(splits(config), kept)


def test_images_in_a_tar_file_are_opened_too_and_loaded_alike_in_processes(tmp_path, kept):
    image_folder(tmp_path / "a")
    (tmp_path / "b").mkdir()
    broken = tmp_path / "a" / "val" / "cat" / "2.png"
    broken.write_bytes(b"no image")

    def pack(*names):
        for split in names:
            with tarfile.open(tmp_path / "b" / f"{split}.tar", "w") as tar:
                for name in ("cat", "dog"):
                    tar.add(tmp_path / "a" / split / name, arcname=name)

    pack("train", "val")
    config = DatasetConfig(name="tar", root=str(tmp_path / "b"))
    place = f"{tmp_path / 'b' / 'val.tar'}/cat/2.png: image 2 of validation cannot be read: "
    assert place in refused(splits(config), kept)
    broken.write_bytes((tmp_path / "a" / "val" / "cat" / "1.png").read_bytes())
    pack("val")
    check_images(splits(config), kept)
    alone = open_data(DataConfig(dataset=config, batch=4, workers=0), toy_backbone(), seed=0)
    helped = open_data(DataConfig(dataset=config, batch=4, workers=2), toy_backbone(), seed=0)
    check_images([helped.train.images], tmp_path / "other.bin")
    for one, other in zip(alone.train.epoch(0), helped.train.epoch(0), strict=True):
        assert (one.images == other.images).all()


def test_images_without_files_cost_nothing(kept, monkeypatch):
    digits = splits(DatasetConfig())
    monkeypatch.setattr(DatasetReader, "__call__", None)
    check_images(digits, kept)
    assert not kept.parent.exists()


def test_an_interrupted_check_goes_on(tmp_path, kept, opened, monkeypatch):
    config = image_folder(tmp_path, count=50)
    monkeypatch.setattr("supernet.data.image_check.IMAGES_PER_TASK", 4)
    images = splits(config)
    read = DatasetReader.__call__

    def interrupted(reader, i):
        if reader is images[2].source.reader and i == 60:
            raise KeyboardInterrupt
        return read(reader, i)

    with monkeypatch.context() as patch:
        patch.setattr(DatasetReader, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check_images(images, kept)
    assert len(np.frombuffer(kept.read_bytes(), "<u8")) == 160
    opened.clear()
    check_images(splits(config), kept)
    assert len(opened) == 40


def test_a_killed_check_loses_little(tmp_path, kept, monkeypatch):
    monkeypatch.setattr("supernet.data.image_check.IMAGES_PER_TASK", 4)
    monkeypatch.setattr("supernet.data.image_check.SAVE_SECONDS", 0)
    writes = []
    monkeypatch.setattr(
        "supernet.data.image_check._write_digests", lambda _, digests: writes.append(len(digests))
    )
    check_images(splits(image_folder(tmp_path, count=50)), kept)
    assert all(0 < new - old <= 4 for old, new in pairwise([0, *writes[:-1]]))
    assert (len(writes) > 50, writes[-1]) == (True, 200)


@pytest.mark.parametrize("stored", [b"", b"abc", bytes(8000), b"x" * 9])
def test_a_damaged_list_of_good_files_is_made_anew(tmp_path, kept, opened, stored):
    config = image_folder(tmp_path)
    kept.parent.mkdir()
    kept.write_bytes(stored)
    check_images(splits(config), kept)
    assert len(opened) == 24
    opened.clear()
    check_images(splits(config), kept)
    assert opened == []


def test_where_nothing_can_be_written_images_are_checked_all_the_same(tmp_path, opened):
    config = image_folder(tmp_path)
    (tmp_path / "run").write_text("no folder")
    check_images(splits(config), tmp_path / "run" / "good.bin")
    assert len(opened) == 24
