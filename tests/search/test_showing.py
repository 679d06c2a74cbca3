"""What a search shows while it runs."""

from io import StringIO

from rich.console import Console
from search_toys import Evaluate, toy_space

from search.record import Spent
from search.run import run_search
from search.stages.searching import shown_progress

SPACE = toy_space()


class Knowing(Evaluate):
    """Knows what its forward passes took: nearly no time, for half of that of one by one."""

    spent = Spent()

    def __call__(self, arch):
        self.spent += Spent(1e-9, 2e-9)
        return super().__call__(arch)


def lines(evaluate, images=(5, 12)):
    output = StringIO()
    with shown_progress(Console(file=output, width=200)) as shown:
        for done in images:
            shown.loaded(done, 12)
        run_search(space=SPACE, evaluate=evaluate, trials=20, on_event=shown)
        shown.show_passes()
    return output.getvalue().splitlines()


def test_images_are_loaded_then_evaluations_are_counted_and_passes_are_told():
    loaded, *tenths, last = lines(Knowing(SPACE))
    assert loaded.startswith("12 images of the search split loaded in ")
    assert [line.split()[1] for line in tenths] == [f"{2 * i}/20" for i in range(1, 11)]
    assert last.startswith("forward passes are ")
    assert last.endswith(" of what they would take one by one")


def test_nothing_is_told_of_passes_where_nobody_knows():
    assert len(lines(Evaluate(SPACE), images=())) == 10
