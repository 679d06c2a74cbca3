"""`amp`, which is true, false or auto: in a file, as an option, and where it is neither."""

import pytest

from search.cli.parse import parse_call
from space import InputError

TEXT = "supernet: {epochs: 3}\n"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def refused(*argv):
    with pytest.raises(InputError) as caught:
        parse_call([str(each) for each in argv])
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("auto", "auto"), ("true", True), ("false", False), ("on", True), ("no", False)],
)
def test_autocast_is_true_false_or_auto(config, text, value):
    assert parse_call(["train", str(config)]).config.supernet.amp == "auto"
    config.write_text(f"{TEXT}retrain: {{amp: {text}}}\n")
    assert parse_call(["train", str(config)]).config.retrain.amp == value
    if text in ("auto", "true", "false"):
        words = ["--supernet.amp", text, "--retrain", f"{{amp: {text}}}"]
        parsed = parse_call(["train", str(config), *words]).config
        assert parsed.supernet.amp == parsed.retrain.amp == value


def test_the_option_of_autocast_alone_turns_it_on(config):
    words = ["--supernet.amp", "--retrain.amp"]
    parsed = parse_call(["train", str(config), *words]).config
    assert parsed.supernet.amp is parsed.retrain.amp is True


@pytest.mark.parametrize("value", ["maybe", "1", "0.5", "[auto]", "bfloat16"])
def test_other_values_of_autocast_are_refused_in_a_line(config, value):
    expected = "must be auto or true or false, got "
    message = refused("train", config, "--supernet.amp", value)
    assert message.startswith(f"--supernet.amp: {expected}")
    assert "\n" not in message
    config.write_text(f"{TEXT}retrain: {{amp: {value}}}\n")
    assert refused("train", config).startswith(f"{config}:2: retrain.amp: {expected}")
