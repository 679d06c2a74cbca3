"""`data.dataset.remap`, whose keys are integers, in files, options and stored configs."""

import pytest

from search.cli.parse import parse_call
from search.pipeline.run_folder import RunFolder
from space import InputError
from space.utils.yaml_file import read_yaml

PLACE = "data.dataset.remap"


@pytest.fixture
def config(tmp_path):
    """A file with a remap."""

    def write(remap):
        path = tmp_path / "toy.yaml"
        values = "" if remap is None else f", remap: {remap}"
        path.write_text(f"run: {tmp_path / 'run'}\ndata:\n  dataset: {{name: pairs{values}}}\n")
        return path

    return write


def call(path, *options):
    return parse_call(["train", str(path), *options])


def remap(path, *options):
    return call(path, *options).config.data.dataset.remap


def test_keys_are_integers_or_text_in_files_and_options(config):
    wanted = {0: 255, 7: 0, -1: 255}
    for text in ("{0: 255, 7: 0, -1: 255}", '{"0": 255, "7": 0, "-1": 255}'):
        assert remap(config(text)) == wanted
        assert remap(config(None), f"--{PLACE}", text) == wanted
        assert remap(config("{5: 5}"), f"--{PLACE}={text}") == wanted
        assert remap(config(None), "--data.dataset", f"{{remap: {text}}}") == wanted
    assert remap(config("{5: 5}"), f"--{PLACE}.0", "255") == {5: 5, 0: 255}
    assert remap(config("{5: 5}"), f"--{PLACE}", "null") is None


@pytest.mark.parametrize("text", ["{a: 1}", "{0: x}", "{0: 1.5}", "[1]", "7"])
def test_other_values_are_refused_in_one_line(config, text):
    expected = f"{PLACE}: must be a mapping of whole numbers such as {{0: 255}} or null, got "
    for value, options in ((text, ()), (None, (f"--{PLACE}", text))):
        with pytest.raises(InputError) as caught:
            call(config(value), *options)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def claim(path, *options):
    folder = RunFolder(call(path, *options).config, path)
    folder.claim("supernet", ("data",))
    return folder


def test_a_run_that_goes_on_has_the_stored_one(config):
    path = config("{5: 255}")
    option = (f"--{PLACE}", "{0: 255, 7: 0}")
    folder = claim(path, *option)
    stored = read_yaml(folder.path / "config.yaml").data["data"]["dataset"]["remap"]
    assert stored == {"0": 255, "7": 0}
    for words in ((path,), (folder.path,), (path, *option)):
        assert remap(*words) == {0: 255, 7: 0}
        claim(*words)
    assert call(path).stored_values == {("data", "dataset", "remap"): {"0": 255, "7": 0}}
    with pytest.raises(InputError) as caught:
        claim(path, f"--{PLACE}", "{0: 255}")
    assert f"{PLACE}.7 was 0, is None" in str(caught.value)


def test_an_edit_of_the_file_counts(config):
    claim(config("{5: 255}"), f"--{PLACE}", "{0: 255}")
    assert remap(config("{5: 255}")) == {0: 255}
    assert remap(config("{6: 255}")) == {6: 255}


def test_the_file_of_a_run_without_options_is_the_same_run(config):
    path = config("{0: 255, 7: 0}")
    claim(path)
    assert call(path).stored_values == {}
    claim(config("{7: 0, 0: 255}"))
