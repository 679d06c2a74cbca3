"""One process of a test of batch norm: RANK COUNT FOLDER.

Trains two steps on its share of the images, through both kinds of use, and leaves what it found.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn

from supernet.tasks.batch_norm import BatchNorm, synchronise


def main():
    rank, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    if count > 1:
        file = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=file, rank=rank, world_size=count)
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    synchronise(inner)
    network = nn.Sequential(BatchNorm(3, momentum=0.3), inner, nn.Conv2d(5, 2, 1)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    whole = 3 + 2 * torch.randn(2, 8, 3, 6, 7, dtype=torch.float64)
    for step in whole:
        images = step.chunk(count)[rank].clone().requires_grad_()
        output = network.train()(images)
        network.zero_grad()
        output.square().flatten(1).sum(dim=1).mean().backward()
    results = {
        "training": output.detach(),
        "evaluation": network.eval()(images.detach()).detach(),
        "buffers": dict(network.named_buffers()),
        "gradients": {name: each.grad for name, each in network.named_parameters()},
        "images": images.grad,
    }
    torch.save(results, f"{folder}/{rank}-{count}.pt")
    if count > 1:
        # Threads of a group that is left to the interpreter's end abort the process now and then.
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
