"""What is known to be wrong of a Ray before it is joined."""

import pytest

from search.cluster.connecting import check_ray
from search.workers import RayConfig
from space import InputError


def test_a_runtime_env_of_unknown_keys_is_refused():
    message = r"^search\.ray\.runtime_env: unknown key 'envvars'; did you mean 'env_vars'\?$"
    with pytest.raises(InputError, match=message):
        check_ray(RayConfig(runtime_env={"envvars": {"A": "1"}}))
    check_ray(RayConfig(runtime_env={"env_vars": {"A": "1"}}))
