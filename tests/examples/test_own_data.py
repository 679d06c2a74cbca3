import importlib.util
from pathlib import Path

from space import load_arch_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_data.py"


def test_the_example_goes_the_whole_way(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("own_data", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path, epochs=1, trials=6)
    file = load_arch_file(tmp_path / "arch.yaml")
    assert file.arch.depth == 6
    assert (tmp_path / "subnet.safetensors").exists()
    assert "of the MACs, on the test data: {'accuracy': " in capsys.readouterr().out
