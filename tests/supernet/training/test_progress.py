import io
import re

import pytest
from rich.console import Console

from supernet.progress import progress_bar

STATE = "largest 1.814  selectors 0.445  grad_norm 1.883"


def shown(width, title, terminal=True):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    with progress_bar(console) as bar:
        task = bar.add_task(title, total=1092, state=STATE)
        bar.update(task, advance=403)
        bar.refresh()
    lines = re.split(r"[\r\n]+|\x1b\[[0-9;?]*[A-Za-z]", console.file.getvalue())
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("title", ["supernet", "retrain baseline early pools 50%"])
def test_a_narrow_terminal_cuts_nothing_but_the_text(title):
    line = shown(80, title)[-1]
    assert len(line) <= 80
    assert line.startswith(title)
    assert "403/1092" in line
    assert " left " in line
    assert line.endswith("…")
    assert shown(200, title)[-1].endswith(STATE)


def test_a_log_has_no_bar():
    assert shown(80, "supernet", terminal=False) == []
