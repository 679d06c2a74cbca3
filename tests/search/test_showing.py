"""What a search shows while it runs."""

from io import StringIO

from rich.console import Console
from search_toys import Evaluate, toy_space

from search.pipeline.search import show_progress
from search.run import run_search

SPACE = toy_space()


def test_each_tenth_of_the_evaluations_is_a_line():
    output = StringIO()
    with show_progress(Console(file=output, width=200)) as shown:
        run_search(space=SPACE, evaluate=Evaluate(SPACE), trials=20, on_event=shown)
    lines = output.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{2 * i}/20" for i in range(1, 11)]
