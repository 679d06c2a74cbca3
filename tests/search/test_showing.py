"""What a search shows while it runs."""

from io import StringIO

from rich.console import Console
from search_toys import Evaluate, toy_space

from search.pipeline.search import shown_progress
from search.run import run_search

SPACE = toy_space()


def lines(evaluate, images=(5, 12)):
    output = StringIO()
    with shown_progress(Console(file=output, width=200)) as shown:
        for done in images:
            shown.loaded(done, 12)
        run_search(space=SPACE, evaluate=evaluate, trials=20, on_event=shown)
    return output.getvalue().splitlines()


def test_images_are_loaded_then_evaluations_are_counted():
    loaded, *tenths = lines(Evaluate(SPACE))
    assert loaded.startswith("12 images of the search split loaded in ")
    assert [line.split()[1] for line in tenths] == [f"{2 * i}/20" for i in range(1, 11)]


def test_without_images_evaluations_alone_are_told():
    assert len(lines(Evaluate(SPACE), images=())) == 10
