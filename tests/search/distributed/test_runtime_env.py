"""What is known to be wrong of a Ray before it is joined."""

import pytest
from stages_config import CONFIG

from search.cli.main import main
from search.cli.parse import parse_call
from search.distributed.connect import check_ray
from search.pipeline.context import RunContext
from search.utils.resources import RayConfig
from space import InputError


def test_a_runtime_env_of_unknown_keys_is_refused():
    message = r"^search\.ray\.runtime_env: unknown key 'envvars'; did you mean 'env_vars'\?$"
    with pytest.raises(InputError, match=message):
        check_ray(RayConfig(runtime_env={"envvars": {"A": "1"}}))
    check_ray(RayConfig(runtime_env={"env_vars": {"A": "1"}}))
    with pytest.raises(InputError, match=r"^search\.ray\.runtime_env: .*/not/here"):
        check_ray(RayConfig(runtime_env={"working_dir": "/not/here"}))


def test_a_folder_of_another_machine_is_none_of_the_commands_without_workers(tmp_path, capsys):
    config = tmp_path / "toy.yaml"
    config.write_text(CONFIG + "search: {ray: {runtime_env: {working_dir: /not/here}}}\n")
    assert main(["inspect", str(config), "--run", str(tmp_path / "run")]) == 0
    # Nor is it of a process on another machine, which a command has asked to work.
    call = parse_call(["train", str(config), "--run", str(tmp_path / "run")])
    RunContext(call.config, call.file).open()
    assert main(["run", str(config), "--search.workers", "1"]) == 2
    assert "search.ray.runtime_env: /not/here" in capsys.readouterr().err
