from contextlib import suppress

import pytest

from search.cli.parse import parse_call
from space import InputError

TEXT = """seed: 3
data:
  batch: 64
  augment: {crop_scale: [0.5, 1.0]}
space:
  pool: {kinds: [avg2d], grids: [4]}
supernet: {epochs: 3}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def refused(*argv):
    with pytest.raises(InputError) as caught:
        parse_call([str(each) for each in argv])
    return str(caught.value)


def test_values_of_the_file_and_options_over_them(config):
    call = parse_call(["train", str(config), "--supernet.epochs", "7", "--data.augment.hflip=0"])
    assert call.command.name == "train"
    assert call.file == config
    assert (call.config.seed, call.config.data.batch, call.config.supernet.epochs) == (3, 64, 7)
    assert call.config.data.augment.crop_scale == (0.5, 1.0)
    assert call.config.data.augment.hflip == 0
    assert call.config.space == {"pool": {"kinds": ["avg2d"], "grids": [4]}}


def test_a_value_of_an_operator_leaves_the_rest_of_it(config):
    words = [
        "--space.pool.grids",
        "[5, 3]",
        "--space.skip.ratios=[0.5]",
        "--space.pool.max_pools=1",
    ]
    assert parse_call(["train", str(config), *words]).config.space == {
        "pool": {"kinds": ["avg2d"], "grids": [5, 3], "max_pools": 1},
        "skip": {"ratios": [0.5]},
    }
    assert parse_call(["train", str(config), "--space.pool", "null"]).config.space == {"pool": None}
    rules = parse_call(["train", str(config), "--space.rules.keep_2d=true"]).config.space["rules"]
    assert rules == {"keep_2d": True}
    for text in ("[", "&a [*a]"):
        assert f"--space.pool.grids: must be valid YAML, got {text}" in refused(
            "train", config, "--space.pool.grids", text
        )


def test_unknown_keys_are_told_all_at_once_with_their_lines(config):
    config.write_text(TEXT.replace("batch: 64", "bach: 64").replace("epochs: 3", "epoch: 3"))
    assert refused("train", config).splitlines() == [
        f"{config}:3: data.bach: unknown key; did you mean 'batch'?",
        f"{config}:7: supernet.epoch: unknown key; did you mean 'epochs'?",
    ]


def test_a_wrong_type_is_told_with_file_line_and_value(config):
    config.write_text(TEXT.replace("batch: 64", "batch: many"))
    message = refused("train", config)
    assert message.startswith(f"{config}:3: data.batch: ")
    assert message.endswith("data.batch: must be a whole number, got many")
    assert "\n" not in message


def test_a_wrong_option_is_told_and_the_right_one_suggested(config):
    assert refused("train", config, "--supernet.epoch", 3) == (
        "unknown option --supernet.epoch; did you mean '--supernet.epochs'?"
    )
    assert refused("train", config, "--data.batch", "x").startswith("--data.batch: ")
    # Of a command's own options too, which stand before those of the config.
    assert refused("profile", config, "--batchsize", 3) == (
        "unknown option --batchsize; did you mean '--batch'?"
    )
    assert refused("train", config, "--batchsize", 3).endswith("did you mean '--data.batch'?")


def test_what_is_none_of_the_choices_is_told_with_all_of_them(config):
    right = "must be one of safetensors, torch-export, onnx, portfolio"
    for given in (["--export.format", "tensorrt"], ["--export.format=[onnx, tensorrt]"]):
        assert refused("export", config, *given).startswith(f"--export.format: {right}, got ")
    assert refused("export", config, "--export.format", "onnx,safetensors").endswith(
        f"{right}, got onnx,safetensors; several are given as [onnx, safetensors]"
    )
    config.write_text(TEXT + "retrain: {weights: own}\n")
    assert refused("retrain", config) == (
        f"{config}:8: retrain.weights: must be one of inherited, scratch, backbone, got own"
    )


def test_a_value_out_of_range_names_its_section(config):
    assert refused("train", config, "--supernet.epochs", 0) == (
        "supernet.epochs: must be at least 1, got 0"
    )
    assert "did you mean 'adam'?" in refused("train", config, "--supernet.optimizer", "adamv")
    config.write_text(TEXT + "retrain: {optimizer: adamv}\n")
    assert refused("train", config).startswith(f"{config}:8: retrain.optimizer: unknown 'adamv'; ")
    assert parse_call(["status", str(config)]).config.retrain.optimizer == "adamv", "no timm there"


def test_missing_and_broken_files_are_one_line(tmp_path, config):
    assert refused("train") == "tokennas train needs a config: tokennas train CONFIG"
    assert "cannot be read" in refused("train", tmp_path / "gone.yaml")
    config.write_text("seed: 1\nseed: 2\n")
    assert refused("train", config) == f"{config}:2: seed: given twice"
    config.write_text("- 1\n")
    assert "must be a mapping" in refused("train", config)


def test_a_value_cannot_make_the_parser_import_anything(tmp_path, config):
    mark = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass K: pass\n")
    evil = "{class_path: evil.K}"
    for text in (
        TEXT.replace("{kinds: [avg2d], grids: [4]}", evil),
        f"backbone: {{args: {{x: {evil}}}}}\n",
        f"backbone: {evil}\n",
    ):
        config.write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(tmp_path)
            with suppress(InputError):
                parse_call(["train", str(config)])
        assert not mark.exists()


@pytest.mark.parametrize(
    "words", [["--format", "onnx", "portfolio"], ["--export.format=[onnx, portfolio]"]]
)
def test_a_command_has_a_short_name_for_what_it_is_asked_most(config, words):
    assert parse_call(["export", str(config), *words]).config.export.format == ["onnx", "portfolio"]
    assert parse_call(["export", str(config), "--format=onnx"]).config.export.format == ["onnx"]
    assert "--format" in refused("search", config, "--format", "onnx")
    told = refused("export", config, "--format", "tflite")
    assert told.startswith("--export.format: ")
    assert "safetensors" in told


@pytest.mark.parametrize(
    ("given", "value"),
    [([], False), ([""], True), (["true"], True), (["false"], False), (["", "--seed", "3"], True)],
)
def test_what_is_true_or_false_needs_no_value(config, given, value):
    option = ["--search.retry_failed"] if given else []
    call = parse_call(["search", str(config), *option, *filter(None, given)])
    assert call.config.search.retry_failed is value


def test_lists_need_no_brackets(config):
    one = parse_call(["retrain", str(config), "--archs", "a.yaml", "--retrain.budgets=40%"])
    two = parse_call(["retrain", str(config), "--archs=[a.yaml]", "--retrain.budgets", "[40%]"])
    assert one == two
    assert one.options["archs"] == ["a.yaml"]
    assert one.config.retrain.budgets == ["40%"]
    words = ["--archs", "a.yaml", "b.yaml", "--retrain.budgets", "40%", "60%", "--retrain.epochs=2"]
    listed = parse_call(["retrain", str(config), *words])
    assert listed.options["archs"] == ["a.yaml", "b.yaml"]
    assert listed.config.retrain.budgets == ["40%", "60%"]
    assert listed.config.retrain.epochs == 2
    several = parse_call(["search", str(config), "--search.objectives", "[kl, macs]"])
    assert several.config.search.objectives == ["kl", "macs"]


@pytest.mark.parametrize("text", ["seed: null", "supernet: {epochs: ~}", "data: ~"])
def test_nothing_where_something_is_needed_is_told(config, text):
    config.write_text(text + "\n")
    message = refused("train", config)
    assert message.startswith(f"{config}:1: {text.split(': ')[0]}")
    assert message.endswith("must not be null; leave the key out for the default")


@pytest.mark.parametrize("value", ["5", "[]", "other.yaml", '"{batch: 5}"'])
def test_a_section_is_a_mapping_of_its_keys(config, value):
    config.write_text(f"seed: 1\ndata: {value}\n")
    message = refused("train", config)
    assert message.startswith(f"{config}:2: data: must be a mapping of dataset, input, ")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hflip", "2", "must lie in 0 to 1, got 2.0"),
        ("erasing", "-0.1", "must lie in 0 to 1, got -0.1"),
        ("smoothing", ".nan", "must lie in 0 to 1, got nan"),
        ("mixup", "-1", "must be finite and at least 0, got -1.0"),
        ("color_jitter", ".inf", "must be finite and at least 0, got inf"),
        ("crop_scale", "[1.0, 0.5]", "must be two ascending shares of 0 to 1, got [1.0, 0.5]"),
        ("crop_scale", "[0, 1]", "must be two ascending shares of 0 to 1, got [0.0, 1.0]"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused(config, key, value, message):
    assert refused("train", config, f"--data.augment.{key}", value) == (
        f"data.augment.{key}: {message}"
    )


def test_a_value_out_of_range_is_told_with_its_line_where_no_option_says_more(config):
    config.write_text(TEXT.replace("epochs: 3", "epochs: 0"))
    message = "supernet.epochs: must be at least 1, got 0"
    assert refused("train", config) == f"{config}:7: {message}"


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1 << 100])
def test_a_seed_that_not_every_generator_takes_is_told_with_its_line(config, seed):
    right = "seed: must be an integer of 0 to 2^64 - 1, got"
    config.write_text(f"seed: {seed}\n")
    assert refused("train", config) == f"{config}:1: {right} {seed}"
    config.write_text(f"search: {{seed: {seed}}}\n")
    assert refused("train", config) == f"{config}:1: search.{right} {seed}"


def test_text_that_the_parser_would_take_for_deep_yaml_is_refused(config):
    deep = "[" * 100_000
    config.write_text(f"search: {{sampler_args: {{a: '{deep}'}}}}\n")
    assert "search.sampler_args.a:1: nested deeper than 40 levels" in refused("train", config)
    config.write_text(TEXT)
    for argv in ([f"--space={deep}"], ["--space", deep]):
        assert "nested deeper than 40 levels" in refused("train", config, *argv)


def test_an_option_of_a_value_stays_beside_a_later_one_of_its_section(config):
    words = ["--supernet.lr", "0.1", "--supernet", "{epochs: 3, random_archs: 1}"]
    supernet = parse_call(["train", str(config), *words]).config.supernet
    assert (supernet.lr, supernet.epochs, supernet.random_archs) == (0.1, 3, 1)
    supernet = parse_call(["train", str(config), *words, "--supernet", "{lr: 0.2}"]).config.supernet
    assert (supernet.lr, supernet.epochs) == (0.2, 3)
    config.write_text("data: {augment: {mixup: 0.1}}\n")
    inner = parse_call(["train", str(config), "--data", "{augment: {cutmix: 0.2}}"]).config.data
    assert (inner.augment.mixup, inner.augment.cutmix) == (0.1, 0.2)
