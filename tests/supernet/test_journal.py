import json
from pathlib import Path

import pytest

from supernet.journal import Journal


def test_a_kill_while_rows_are_taken_up_loses_none(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"epoch": i}) + "\n" for i in range(3)) + '{"epo')
    before = path.read_text()

    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Journal(tmp_path, "toy", quiet=True).restore(2)
    assert path.read_text() == before
    Journal(tmp_path, "toy", quiet=True).restore(2)
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [0, 1]
