"""The forward pass of any arch, as a pure function of images and arch.

The model *is* a timm VisionTransformer, with timm's parameter names; its blocks are run by a plan
that is worked out from the arch, and no state is set to choose one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from space.arch import Arch, BlockArch, Grid
from space.errors import InputError
from space.shape import BackboneShape
from space.tokens import State, starts_run
from supernet.attention import Exposed, Maps, Want, project
from supernet.backbone import shallow_copy
from supernet.block import run_block
from supernet.plan import Step, plan
from supernet.pooling import DepthwisePool, pool_tokens
from supernet.selection import (
    MapSelector,
    choose,
    put_back,
    row_importance,
    rows_of,
    take,
)

Choice = tuple[State, BlockArch]
Observer = Callable[[int, Tensor, Tensor], None]
Visitor = Callable[[int, Tensor, Grid | None], None]


class Run(NamedTuple):
    """A run of blocks that some tokens bypass.

    Args:
        x: all tokens as they were before it, (B, N, D).
        rows: of the tokens that go through it, see `rows_of`.
    """

    x: Tensor
    rows: Tensor


class Carry(NamedTuple):
    """All that one block leaves for those after it.

    Args:
        x: tokens, (B, N, D); inside a run those that go through it, (B, prefix + K, D).
        maps: of the block, (B, H, N, N) in all, where the next one shares them.
        importance: of the patch tokens, (B, P), where a run starts next.
        run: the run that goes on, or None.
    """

    x: Tensor
    maps: Maps | None = None
    importance: Tensor | None = None
    run: Run | None = None


class ElasticCore(VisionTransformer):
    """A timm VisionTransformer whose blocks run by an arch.

    It shares the backbone's parameters and modules; `pools` and `selectors` hold what its archs
    need in addition. Use it as `ElasticViT`.

    Args:
        backbone: a timm VisionTransformer that `check_backbone` accepts.
        shape: its shape.
        choices: for each block, the choices that it may be given and the states it has them in.
        arch: the arch that runs where a call names none.
    """

    shape: BackboneShape
    arch: Arch | None
    blocks: Any

    def __init__(
        self,
        backbone: VisionTransformer,
        shape: BackboneShape,
        choices: Iterable[Iterable[Choice]],
        arch: Arch | None = None,
    ) -> None:
        # The backbone's state is taken over as it is; timm's own __init__ would build it anew.
        self.__dict__.update(shallow_copy(backbone).__dict__)
        self.set_arch(shape, arch)
        self.pools = nn.ModuleDict()
        self.selectors = nn.ModuleDict()
        for i, pairs in enumerate(choices):
            self._add_operators(i, list(pairs))

    def _add_operators(self, i: int, choices: list[Choice]) -> None:
        """One kernel a learned kind, and one selector, for block `i`, where a choice needs it."""
        weight = self.blocks[i].attn.qkv.weight
        pools = [block.pool for _, block in choices if block.pool]
        kinds = sorted({pool.kind for pool in pools if pool.learned})
        if kinds:
            self.pools[str(i)] = nn.ModuleDict(
                {
                    kind: DepthwisePool(
                        self.embed_dim, 2 if kind == "conv2d" else 1, weight.device, weight.dtype
                    )
                    for kind in kinds
                }
            )
        if any(starts_run(state, block) and block.selector == "map" for state, block in choices):
            self.selectors[str(i)] = MapSelector(self.shape.heads, weight.device).to(weight.dtype)

    def learned_modules(self) -> dict[str, nn.Module]:
        """Modules that archs need beside the backbone's, by name: pooling kernels and selectors."""
        kernels = {
            f"pools.{i}.{kind}": kernel
            for i, kinds in self.pools.items()
            for kind, kernel in kinds.items()  # type: ignore[operator]
        }
        return kernels | {f"selectors.{i}": each for i, each in self.selectors.items()}

    def set_arch(self, shape: BackboneShape, arch: Arch | None) -> None:
        """The arch that runs where a call names none; its plan is made here, not while running."""
        self.shape, self.arch = shape, arch
        self._own_steps = None if arch is None else plan(arch, shape)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        arch: Arch | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes).

        Raises:
            InputError: there is no arch, it does not fit, or an attention mask is given.
        """
        tokens = self.forward_features(x, arch, attn_mask=attn_mask, is_causal=is_causal)
        return self.forward_head(tokens)

    def forward_features(  # type: ignore[override]
        self,
        x: Tensor,
        arch: Arch | None = None,
        observe: Observer | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Images (B, C, H, W) to normed tokens (B, N', D), N' what the arch leaves.

        Args:
            x: images.
            arch: the arch to run; a subnet has its own.
            observe: called with (block, query, key), each (B, H, N, d), detached, for every block
                that attends by itself to all tokens, and for the first block of a run as if it did.
            attn_mask, is_causal: timm's; must say that there is no mask.

        Raises:
            InputError: there is no arch, it does not fit, or an attention mask is given.
        """
        check_no_mask(attn_mask, is_causal)
        x = self.run_blocks(self.embed(x), self.steps(arch), observe)
        return self.norm(x)  # type: ignore[no-any-return]

    def steps(self, arch: Arch | None = None) -> tuple[Step, ...]:
        """The plan of `arch`, or of the subnet's own.

        Raises:
            InputError: there is no arch, or it does not fit.
        """
        if arch is not None:
            return plan(arch, self.shape)
        if self._own_steps is None:
            raise InputError("a supernet needs an arch: supernet(images, arch)")
        return self._own_steps

    def embed(self, x: Tensor) -> Tensor:
        """Images to tokens (B, N, D) as the first block finds them."""
        return self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(x))))  # type: ignore[no-any-return]

    def run_blocks(
        self,
        x: Tensor,
        steps: tuple[Step, ...],
        observe: Observer | None = None,
        visit: Visitor | None = None,
    ) -> Tensor:
        """Tokens (B, N, D) through the blocks.

        Args:
            x: the tokens that the first block finds.
            steps: the plan, which may end before the last block.
            observe: see `forward_features`.
            visit: called with (block, all tokens after it, their grid or None); inside a run the
                tokens that went through it stand at their places.
        """
        carry = Carry(x)
        for i, step in enumerate(steps):
            carry = self.run_step(i, step, carry, observe)
            if visit is not None:
                visit(i, self.all_tokens(carry), step.grid_after)
        return self.all_tokens(carry)

    def run_step(self, i: int, step: Step, carry: Carry, observe: Observer | None = None) -> Carry:
        """Block `i` of a plan on what the block before left; nothing of that is changed.

        Args:
            i: the block.
            step: what it does.
            carry: `Carry(x)` before block 0.
            observe: see `forward_features`.
        """
        x, run = carry.x, carry.run
        if step.pool is not None:
            x = self._pool(i, step, x)
        if step.selector is not None:
            assert carry.importance is not None
            if observe is not None:
                self._observe_all(i, x, observe)
            chosen = choose(carry.importance, step.keep)
            run = Run(x, rows_of(chosen, self.num_prefix_tokens, x.shape[1]))
            x = take(x, run.rows)
        watched = observe if run is None and not step.shared else None
        x, exposed = self._block(i, step, x, carry.maps if step.shared else None, watched)
        after = Carry(x, exposed.maps, exposed.importance, run)
        return Carry(self.all_tokens(after)) if step.ends_run else after

    def all_tokens(self, carry: Carry) -> Tensor:
        """Tokens (B, N, D); inside a run, those that went through it at their places."""
        if carry.run is None:
            return carry.x
        return put_back(carry.run.x, carry.run.rows, carry.x)

    def _block(
        self, i: int, step: Step, x: Tensor, maps: Maps | None, observe: Observer | None
    ) -> tuple[Tensor, Exposed]:
        want = self._want(i, step)._replace(query_key=observe is not None)
        if self.grad_checkpointing and self.training:
            x, exposed = checkpoint(run_block, self.blocks[i], x, maps, want, use_reentrant=False)
        else:
            x, exposed = run_block(self.blocks[i], x, maps, want)
        if observe is not None and exposed.query is not None and exposed.key is not None:
            observe(i, exposed.query.detach(), exposed.key.detach())
        return x, exposed

    def _want(self, i: int, step: Step) -> Want:
        """What blocks after block `i` need of it: its maps, or the importance of its tokens."""
        prefix = self.num_prefix_tokens
        if step.scores == "map":
            selector: Any = self.selectors[str(i + 1)]
            return Want(step.keeps_map, scores=partial(selector.importance, prefix=prefix))
        if step.scores == "cls":
            scale, cls = self.blocks[i].attn.scale, self.has_class_token
            rows = partial(row_importance, scale=scale, prefix=prefix, cls=cls)
            return Want(step.keeps_map, row_scores=rows)
        return Want(step.keeps_map)

    def _observe_all(self, i: int, x: Tensor, observe: Observer) -> None:
        """Show queries and keys of block `i` on all tokens, of which only some go through it."""
        with torch.no_grad():
            query, key, _ = project(self.blocks[i].attn, self.blocks[i].norm1(x))
        observe(i, query, key)

    def _pool(self, i: int, step: Step, x: Tensor) -> Tensor:
        assert step.pool is not None
        prefix = self.num_prefix_tokens
        conv: Any = self.pools[str(i)][step.pool.kind] if step.pool.learned else None  # type: ignore[index]
        patches = pool_tokens(x[:, prefix:], step.grid, step.pool, conv)
        return torch.cat([x[:, :prefix], patches], dim=1)


def check_no_mask(attn_mask: Tensor | None, is_causal: bool) -> None:
    """Refuse an attention mask.

    Raises:
        InputError: one is given.
    """
    if attn_mask is not None or is_causal:
        raise InputError("attention masks are not served: pooling changes the tokens")
