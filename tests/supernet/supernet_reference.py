"""A whole arch in plain loops over images, heads, queries and tokens.

It takes weights and timm's stem, norms, MLPs and head from a model, and nothing from the code that
it judges. One image at a time: x is (N, D), a map (N, N), patch tokens stand after the prefix.
"""

import math
import random
from fractions import Fraction

import torch
from torch.nn import functional as F


def forward(model, images, arch):
    """Logits, and for each block the tokens (B, N, D) after it with their grid or None."""
    stem = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    each = [one_image(model, x, arch) for x in stem]
    tokens = torch.stack([image[-1][0] for image in each])
    blocks = [
        (torch.stack([after[i][0] for after in each]), each[0][i][1]) for i in range(arch.depth)
    ]
    return model.forward_head(model.norm(tokens)), blocks


def one_image(model, x, arch):
    """Tokens and grid after each block; tokens that bypass a run stand at their places."""
    prefix, grid = model.num_prefix_tokens, model.patch_embed.grid_size
    heads, before, places, after = None, None, None, []
    for i, choice in enumerate(arch.blocks):
        block = model.blocks[i]
        if choice.skip == 0:
            if places is not None:
                x, before, places = after[-1][0], None, None
            if choice.pool is not None:
                patches, grid = pooled(x[prefix:], grid, choice.pool, kernel(model, i, choice.pool))
                x = torch.cat([x[:prefix], patches])
        elif places is None:
            scores = importance(model, i, choice.selector, heads)
            dropped = Fraction(repr(choice.skip)) * len(scores)
            order = sorted(range(len(scores)), key=lambda j: (-scores[j], j))
            places = sorted(order[: len(scores) - math.floor(dropped)])
            before = x
            x = x[list(range(prefix)) + [prefix + j for j in places]]
        x, heads = one_block(block, x, heads if choice.attention == "shared" else None)
        whole = x
        if places is not None:
            whole = before.clone()
            whole[:prefix] = x[:prefix]
            for row, j in enumerate(places):
                whole[prefix + j] = x[prefix + row]
        after.append((whole, grid))
    return after


def one_block(block, x, given):
    """Tokens after a timm block, and its heads: (queries, keys, logits, map) each."""
    normed, attn = [block.norm1(token) for token in x], block.attn
    heads = given or [own_head(attn, h, normed) for h in range(attn.num_heads)]
    outputs = []
    for h, (_, _, _, maps) in enumerate(heads):
        values = project(attn, 2 * attn.num_heads + h, normed)
        outputs.append([sum(a * v for a, v in zip(row, values, strict=True)) for row in maps])
    rows = []
    for n, token in enumerate(x):
        y = attn.norm(torch.cat([output[n] for output in outputs]))
        if attn.gate is not None:
            y = y * torch.sigmoid(attn.gate(normed[n]))
        middle = token + block.ls1(attn.proj(y))
        rows.append(middle + block.ls2(block.mlp(block.norm2(middle))))
    return torch.stack(rows), heads


def own_head(attn, h, tokens):
    queries = [attn.q_norm(row) for row in project(attn, h, tokens)]
    keys = [attn.k_norm(row) for row in project(attn, attn.num_heads + h, tokens)]
    scale = 1 / math.sqrt(attn.head_dim)
    logits = torch.stack([torch.stack([scale * (q @ k) for k in keys]) for q in queries])
    return queries, keys, logits, torch.stack([row.exp() / row.exp().sum() for row in logits])


def project(attn, part, tokens):
    """Queries, keys or values of one head: its d rows of `qkv`."""
    rows = slice(part * attn.head_dim, (part + 1) * attn.head_dim)
    bias = None if attn.qkv.bias is None else attn.qkv.bias[rows]
    return [F.linear(token, attn.qkv.weight[rows], bias) for token in tokens]


def importance(model, i, selector, heads):
    """Scores of the patch tokens for a run from block `i`, of the block before it."""
    prefix = model.num_prefix_tokens
    if selector == "random":
        patches = len(heads[0][2]) - prefix
        generator = random.Random(f"block {i} of {patches} tokens")
        return [-generator.random() for _ in range(patches)]
    if selector == "cls":
        rows = [cls_row(model, queries, keys) for queries, keys, _, _ in heads]
    else:
        rows = [log_map.exp().sum(0) for log_map in predicted(model.selectors[str(i)], heads)]
    return [float(score) for score in (sum(rows) / len(rows))[prefix:]]


def cls_row(model, queries, keys):
    """The map's row of the class token, or of the mean of the patch queries."""
    prefix = model.num_prefix_tokens
    patches = queries[prefix:]
    query = queries[0] if model.cls_token is not None else sum(patches) / len(patches)
    weights = torch.stack([(query @ key / math.sqrt(len(key))).exp() for key in keys])
    return weights / weights.sum()


def predicted(selector, heads):
    """The map selector as two 1-wide convolutions over the heads, a query at a time.

    They see by how much a logit lies below the largest of its row.
    """
    by_query = torch.stack([logits for _, _, logits, _ in heads]).unbind(1)
    first, second = selector.hidden, selector.predict
    found = [
        F.conv1d(
            F.conv1d(
                (row - row.max(-1, True)[0])[None], first.weight[:, :, None], first.bias
            ).relu(),
            second.weight[:, :, None],
        )[0].log_softmax(-1)
        for row in (each - each.max(-1, keepdim=True).values for each in by_query)
    ]
    return torch.stack(found, 1)


def kernel(model, i, pool):
    return model.pools[str(i)][pool.kind].weight if pool.kind.startswith("conv") else None


def pooled(patches, grid, pool, weight=None):
    """Patch tokens (P, D) and their grid after a pooling."""
    if pool.grid is None:
        sides, target, after = (1, len(patches)), (1, math.ceil(len(patches) / pool.stride)), None
    else:
        sides, target, after = grid, pool.grid, pool.grid
    rows = []
    for r in range(target[0]):
        for c in range(target[1]):
            if weight is not None:
                rows.append(convolved(patches, sides, (r, c), weight))
                continue
            window = torch.stack(
                [
                    patches[y * sides[1] + x]
                    for y in adaptive(r, sides[0], target[0])
                    for x in adaptive(c, sides[1], target[1])
                ]
            )
            rows.append(window.mean(0) if pool.kind.startswith("avg") else window.max(0).values)
    return torch.stack(rows), after


def adaptive(i, n, size):
    return range(i * n // size, math.ceil((i + 1) * n / size))


def convolved(patches, sides, place, weight):
    """3-wide, stride 2, padding 1; over the share of its averaging window that lies inside."""
    taps = weight[:, 0] if weight.ndim == 4 else weight  # (D, 3, 3); 1-D: (D, 1, 3), the row alone
    total = torch.zeros_like(patches[0])
    middle = taps.shape[1] // 2
    for dy in range(taps.shape[1]):
        for dx in range(3):
            y, x = 2 * place[0] + dy - 1 if middle else 0, 2 * place[1] + dx - 1
            if 0 <= y < sides[0] and 0 <= x < sides[1]:
                total = total + taps[:, dy, dx] * patches[y * sides[1] + x]
    window = [
        (y, x)
        for y in ((2 * place[0], 2 * place[0] + 1) if middle else (0,))
        for x in (2 * place[1], 2 * place[1] + 1)
    ]
    inside = [y < sides[0] and x < sides[1] for y, x in window]
    return total * len(window) / sum(inside)
