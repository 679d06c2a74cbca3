import importlib.util
from pathlib import Path

from search import Portfolio

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve.py"


def test_the_example_answers_every_image(capsys):
    spec = importlib.util.spec_from_file_location("serve", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    portfolio = example.make_untrained()
    assert isinstance(portfolio, Portfolio)
    assert len(portfolio) > 5
    found = example.main(portfolio, seconds=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(found) == len(example.LOADS) == len(lines) - 2
    for answered, line in zip(found, lines[2:], strict=True):
        rate, count, *_ = line.split()
        assert len(answered) == int(count) > 0
        assert abs(len(answered) - 0.2 * int(rate)) < 2
        known = {each.entry.metrics["macs"] for each in portfolio}
        assert {macs for _, macs in answered} <= known
