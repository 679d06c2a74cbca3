"""Evaluating arch files on the test split."""

from __future__ import annotations

from typing import Any

from search.pipeline.context import RunContext
from search.pipeline.given_archs import read_archs
from search.pipeline.speeds import images_per_second, latency_cells
from search.pipeline.subnets import load_subnet
from search.utils.console import show_rows
from space.cost import macs, params
from supernet.evaluation import HeldOut


def evaluate(run: RunContext, archs: list[str]) -> list[dict[str, Any]]:
    """Measure accuracy on the test split, MACs, parameters, images/s and known latencies.

    `archs` are arch files, fronts and folders of them. An arch file with weights beside it (of the
    same name, or in its network's folder) is evaluated with them, others with the supernet's.

    Raises:
        InputError: An arch file is invalid, or of another backbone.
    """
    files = {each.path: each.file for each in read_archs(archs)}
    run.load_trained()
    amp = run.config.supernet.amp
    found = {path: load_subnet(run, path, arch_file) for path, arch_file in files.items()}
    run.check_images()
    test = HeldOut(run.data.test, run.task, run.device, amp)
    speeds = images_per_second({path: subnet for path, (subnet, _) in found.items()}, amp)
    names = [path.name for path in files]
    rows = [
        {
            "arch": str(path) if names.count(path.name) > 1 else path.name,
            "weights": source,
            **test.measure(subnet),
            "macs": macs(files[path].arch, files[path].shape),
            "params": params(files[path].arch, files[path].shape),
            "images/s": speeds[path]["value"],
            **latency_cells(files[path].metrics),
        }
        for path, (subnet, source) in found.items()
    ]
    show_rows(rows, run.console, title=f"on the test split, {len(test):,} images")
    return rows
