"""One process of a data parallel training: RANK COUNT DTYPE FOLDER [EPOCHS] [loud | TASK | amp].

Alone it is given the batches of `SHARES` processes, joined. Leaves gradients of the first step, the
weights at the end, and their average, in FOLDER.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from dense_toys import SECTIONS, dense_supernet, dense_task, depth_maps, label_maps
from training_toys import toy_supernet, toy_task

from supernet import precision
from supernet.data.loaders import Batch, ShuffledBatches
from supernet.process_group import Processes
from supernet.training import trainer
from supernet.training.train_supernet import SupernetRecipe, train_supernet

SHARES, STEPS, ACCUMULATE, SIZE = 2, 10, 2, 6
RECIPE = {
    "lr": 1e-3,
    "ema": 0.9,
    "clip": 0.05,
    "accumulate": ACCUMULATE,
    "selector_share": 0.4,
    "random_archs": 2,
    "save_minutes": 0.0,
}


class Made(ShuffledBatches):
    """Images and targets as a function of (epoch, step, share): mixed labels, or a task's maps."""

    def __init__(self, shares, dtype, maps):
        self.shares = shares
        self.dtype = dtype
        self.maps = maps
        self.steps = STEPS * ACCUMULATE

    def epoch(self, epoch, first=0):
        for step in range(first, self.steps):
            parts = zip(*(self.part(epoch, step, share) for share in self.shares), strict=True)
            yield Batch(*map(torch.cat, parts))

    def part(self, epoch, step, share):
        seed = 1000 * epoch + 10 * step + share
        rng = torch.Generator().manual_seed(seed)
        size = (16, 24 if self.maps else 16)
        images = torch.randn(SIZE, 3, *size, generator=rng, dtype=self.dtype)
        targets = torch.randn(SIZE, 10, generator=rng, dtype=self.dtype).softmax(-1)
        if self.maps == "segmentation":
            targets = label_maps(SIZE, seed=seed)
        elif self.maps:
            targets = depth_maps(SIZE, seed=seed).to(self.dtype)
        # In some steps one share has no image that selectors learn from, in some none has.
        draws = torch.rand(SIZE, generator=rng)
        return images, targets, draws + (step % 5 == share) + (step % 7 == 3)


def main():
    rank, count, dtype, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    words = sys.argv[5:]
    epochs, maps = int(next(filter(str.isdigit, words), 2)), next(filter(SECTIONS.get, words), None)
    dtype = getattr(torch, dtype)
    torch.set_num_threads(1)
    if count > 1:
        file = f"file://{folder}/meeting-{count}"
        dist.init_process_group("gloo", init_method=file, rank=rank, world_size=count)
    shares = [rank] if count > 1 else range(SHARES)
    seen = {}
    clip = trainer.clip_gradients

    def noting(groups, most):
        if not seen:
            named = supernet.named_parameters()
            seen.update({n: p.grad.clone() for n, p in named if p.grad is not None})
        return clip(groups, most)

    trainer.clip_gradients = noting
    supernet = dense_supernet(maps) if maps else toy_supernet()
    if rank:
        # Others begin with the weights of the first, whatever their own are.
        for parameter in supernet.head.parameters():
            torch.nn.init.zeros_(parameter)
    supernet = supernet.to(dtype)
    # Each process for itself would decide otherwise: that of the main one counts for all.
    precision.fast_devices = lambda: frozenset() if rank else frozenset({"cpu"})
    precision.LEAST_WIDTH = 1 if "amp" in sys.argv else 1 << 20
    recipe = SupernetRecipe(epochs=epochs, **RECIPE)
    batches = Made(shares, dtype, maps)
    kept = folder / "training"
    trained = train_supernet(
        supernet,
        batches,
        task=dense_task(maps) if maps else toy_task(),
        recipe=recipe,
        folder=kept,
        seed=4,
        quiet="loud" not in words,
    )
    torch.save({"gradients": seen, "weights": trained.state_dict()}, folder / f"{rank}-{count}.pt")
    print(json.dumps({"rank": Processes.current().rank}))
    if count > 1:
        # Threads of a group that is left to the interpreter's end abort the process now and then.
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
