"""`tokennas inspect` tells before a run what it will do, and what is wrong with it."""

from dense_runs import DEPTH, open_run, write_config

from search.pipeline.inspect import estimate_training
from supernet.training.sandwich import Sandwich


def test_the_timed_step_is_no_larger_than_one_of_training(tmp_path, monkeypatch):
    sizes, step = set(), Sandwich.__call__

    def record(self, batch, archs):
        sizes.add(len(batch.images))
        return step(self, batch, archs)

    monkeypatch.setattr(Sandwich, "__call__", record)
    run = open_run(write_config(tmp_path, DEPTH))
    assert estimate_training(run) > 0
    assert sizes == {run.config.data.batch} == {8}
