"""What several test files of the space use.

Importlib mode puts no test folder on the path: here the helpers space_toys and space_reference
become modules.
"""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.append(str(Path(__file__).parent))

from space_toys import deit_small

from space import Arch, BlockArch, InputError, Pool, load_arch, save_arch

# A busy machine is no failure; where time matters, a test says so itself.
settings.register_profile("space", deadline=None, print_blob=True)
settings.load_profile("space")


@pytest.fixture(scope="session")
def valid(tmp_path_factory):
    """The text of an arch file with a pooled, a skipping and a shared block."""
    path = tmp_path_factory.mktemp("files") / "valid.yaml"
    blocks = {
        2: BlockArch(pool=Pool("avg2d", grid=(10, 10))),
        5: BlockArch(skip=0.5),
        7: BlockArch(attention="shared"),
    }
    arch = Arch(tuple(blocks.get(i, BlockArch()) for i in range(12)))
    save_arch(arch, path, shape=deit_small(), metrics={"top1": 0.5}, classes=["cat", "dog"])
    return path.read_text(encoding="utf-8")


@pytest.fixture
def complaint(tmp_path):
    """What loading says of a text or bytes, without the path in front."""

    def load(content):
        path = tmp_path / "arch.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(InputError) as caught:
            load_arch(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert len(message.splitlines()) == 1
        assert len(message) < 300 + len(str(path))
        return message.removeprefix(str(path))

    return load
