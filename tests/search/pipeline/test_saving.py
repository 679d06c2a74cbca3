"""`evaluate --save` refuses a folder before it evaluates, and overwrites nothing."""

import pytest
import torch
from dense_runs import DEPTH, open_run, said, write_config
from nyu_toys import write_nyu

from search.pipeline.predictions import check_save, save_predictions
from space import save_arch
from space.utils.errors import InputError
from space.utils.yaml_file import read_yaml, write_yaml
from supernet import extract
from supernet.data.map_reading import read_map


@pytest.fixture
def run(tmp_path):
    return open_run(write_config(tmp_path, DEPTH))


def test_a_folder_that_is_a_file_is_told_before_the_evaluation(run, tmp_path, capsys):
    save_arch(run.space.largest(), tmp_path / "full.yaml", shape=run.space.shape)
    words = ("evaluate", tmp_path / "toy.yaml", "--archs", tmp_path / "full.yaml", "--save")
    for place in (tmp_path / "toy.yaml", tmp_path / "toy.yaml" / "maps"):
        assert said(capsys, *words, place, code=2) == (
            f"tokennas: --save: {tmp_path}/toy.yaml is a file; give a folder, or a new name\n"
        )
    # The supernet is not trained, which comes to light next.
    assert "missing; run `tokennas train" in said(capsys, *words, tmp_path / "maps", code=2)


def test_earlier_maps_are_not_overwritten(run, tmp_path):
    save = tmp_path / "maps"
    (save / "full").mkdir(parents=True)
    check_save(run, save, ["full", "small"])
    (save / "full" / "one.png").touch()
    check_save(run, save, ["small"])
    with pytest.raises(InputError, match=f"^--save: {save}/full holds files already; move it away"):
        check_save(run, save, ["small", "full"])


@pytest.mark.parametrize("folder", ["rgb", "depth/maps", "nearby/../depth"])
def test_nothing_is_saved_among_the_data(run, tmp_path, folder):
    data = tmp_path / "data"
    with pytest.raises(InputError, match=f"is in {data}/(rgb|depth), a folder of the data set"):
        check_save(run, data / folder, ["full"])
    with pytest.raises(InputError, match="a folder of the data set"):
        check_save(run, data, ["full", "depth"])
    check_save(run, data, ["full"])


def test_maps_inside_a_file_have_its_names_counted_as_in_matlab(tmp_path):
    dataset, _, order = write_nyu(tmp_path, count=20, train=16, size=(32, 48))
    path = write_config(tmp_path, DEPTH)
    values = read_yaml(path).data
    write_yaml(path, {**values, "data": {**values["data"], "dataset": dataset}})
    run = open_run(path)
    network = extract(run.supernet, run.space.largest()).eval()
    assert save_predictions(run, network, tmp_path / "maps", amp=False) == 4
    images = run.data.test.dataset
    for i, number in enumerate(order[16:]):
        image, target, _ = images[-1, i]
        with torch.inference_mode():
            wanted = run.task.predict(network(image[None]), target.shape)[0].numpy()
        found = read_map(tmp_path / "maps" / f"depths_{number + 1}.png") / 1000
        assert found == pytest.approx(wanted, abs=6e-4)
