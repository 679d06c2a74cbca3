"""What is known to be wrong of a Ray before it is joined."""

from pathlib import Path

import pytest

from search.cli import main
from search.cluster.connecting import check_ray
from search.workers import RayConfig
from space import InputError


def test_a_runtime_env_of_unknown_keys_is_refused():
    message = r"^search\.ray\.runtime_env: unknown key 'envvars'; did you mean 'env_vars'\?$"
    with pytest.raises(InputError, match=message):
        check_ray(RayConfig(runtime_env={"envvars": {"A": "1"}}))
    check_ray(RayConfig(runtime_env={"env_vars": {"A": "1"}}))


@pytest.mark.parametrize("command", ["inspect", "train", "run"])
def test_it_is_refused_before_anything_starts_without_workers_too(command, tmp_path, capsys):
    run, config = tmp_path / "run", Path(__file__).parents[2] / "configs/quickstart.yaml"
    options = ["--run", str(run), "--search.ray.runtime_env", "{envvars: {A: '1'}}"]
    assert main([command, str(config), *options]) == 2
    error = capsys.readouterr().err
    assert "search.ray.runtime_env: unknown key 'envvars'; did you mean 'env_vars'?" in error
    assert not (run / "supernet").exists()
