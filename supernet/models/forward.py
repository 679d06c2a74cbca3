"""The forward pass of any arch, as a pure function of images and arch.

The model *is* a timm VisionTransformer, with timm's parameter names; its blocks follow a plan
computed from the arch, and no state is set to choose an arch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from space.arch import Arch, BlockArch, Grid
from space.shape import BackboneShape
from space.state import State
from space.utils.errors import InputError
from supernet.backbones.blocks import Exchange, Exposed, Maps, Request, elastic_block, shallow_copy
from supernet.backbones.dense_head import DenseHead, Features
from supernet.models.plan import Step, block_actions, plan
from supernet.operators.base import Flow, Observer, TokenOperator
from supernet.operators.registry import token_operators


class ElasticCore(VisionTransformer):
    """A timm VisionTransformer whose blocks run by an arch.

    It shares the backbone's parameters and modules, and adds the weights of operators by block
    (`pools`, `selectors`). Use `ElasticViT`.

    Args:
        backbone: A timm VisionTransformer that `check_backbone` accepts.
        shape: Its shape.
        choices: The (state, choice) pairs for which each block gets weights.
    """

    shape: BackboneShape
    arch: Arch | None
    blocks: Any
    num_heads: int

    def __init__(
        self,
        backbone: VisionTransformer,
        shape: BackboneShape,
        choices: Iterable[Iterable[tuple[State, BlockArch]]],
    ) -> None:
        # Shares the backbone's modules; timm's own __init__ would build new ones.
        self.__dict__.update(shallow_copy(backbone).__dict__)
        self.set_arch(shape, None)
        self.num_heads = shape.heads
        self.blocks = nn.Sequential(*map(elastic_block, self.blocks))
        for operator in token_operators():
            if operator.modules:
                setattr(self, operator.modules, nn.ModuleDict())
        for i, pairs in enumerate(choices):
            actions = [action for pair in pairs for action in block_actions(i, *pair)]
            for operator in token_operators():
                possible = [action for action in actions if action.operator is operator]
                module = operator.module(self, possible, self.blocks[i].attn.qkv.weight)
                if module is not None:
                    getattr(self, operator.modules)[str(i)] = module

    def operator_modules(self) -> dict[str, nn.ModuleDict]:
        """Return the weights of the operators by name in checkpoints, each by block."""
        names = (each.modules for each in token_operators() if each.modules)
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def learned_modules(self) -> dict[str, nn.Module]:
        """Return the operators' trained modules by name: pooling kernels and selectors."""
        learned: dict[str, nn.Module] = {}
        for name, modules in self.operator_modules().items():
            for i, module in modules.items():
                parts = module.items() if isinstance(module, nn.ModuleDict) else [("", module)]
                learned |= {f"{name}.{i}.{part}".rstrip("."): each for part, each in parts}
        return learned

    def auxiliary_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that only an auxiliary loss trains, by the name of the loss."""
        modules = self.operator_modules()
        return {
            each.auxiliary: list(modules[each.modules].parameters())
            for each in token_operators()
            if each.auxiliary is not None and each.modules in modules
        }

    def set_arch(self, shape: BackboneShape, arch: Arch | None) -> None:
        """Set the default arch, and compute its plan before any forward pass.

        Raises:
            InputError: The arch does not fit, or its last tokens have no grid for a dense head.
        """
        steps = None if arch is None else plan(arch, shape)
        if steps is not None and isinstance(self.head, DenseHead):
            for i in self.head.blocks:
                _check_grid(i, steps[i])
        self.shape, self.arch, self._default_steps = shape, arch, steps

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        arch: Arch | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Map images (B, C, H, W) to logits (B, classes), or to the map of a dense head.

        Raises:
            InputError: No arch is given, it does not fit, or an attention mask is given.
        """
        check_no_mask(attn_mask, is_causal)
        return self.read_out(self.run_blocks(self.embed(x), self.steps(arch)))

    def forward_features(  # type: ignore[override]
        self,
        x: Tensor,
        arch: Arch | None = None,
        observe: Observer | None = None,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Map images (B, C, H, W) to the normed tokens (B, N', D) after the last block.

        Args:
            x: Images.
            arch: The arch to run; the default one if None.
            observe: Called with queries and keys of blocks, see `Observer`.
            attn_mask, is_causal: timm's arguments; masks are refused.

        Raises:
            InputError: No arch is given, it does not fit, or an attention mask is given.
        """
        check_no_mask(attn_mask, is_causal)
        flow = self.run_blocks(self.embed(x), self.steps(arch), observe)
        return self.norm(flow.all_tokens())  # type: ignore[no-any-return]

    def forward_with_choices(
        self, x: Tensor, arch: Arch | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the output, and for each run the indices (B, K) of its patch tokens.

        A run is a row of blocks that the other patch tokens bypass.
        """
        flow, chosen = Flow(self.embed(x)), []
        for i, step in enumerate(self.steps(arch)):
            flow = self.run_step(i, step._replace(restores=False), flow)
            if step.restores:
                chosen += [restore.chosen for restore in reversed(flow.restores)]
                flow = Flow(flow.all_tokens(), features=flow.features)
        return self.read_out(flow), tuple(chosen)

    @property
    def runs(self) -> int:
        """Number of runs of skipping blocks in the default arch."""
        return sum(step.restores for step in self.steps())

    def steps(self, arch: Arch | None = None) -> tuple[Step, ...]:
        """Return the plan of `arch`, or of the default arch.

        Raises:
            InputError: No arch is given, or it does not fit the backbone.
        """
        if arch is not None:
            return plan(arch, self.shape)
        if self._default_steps is None:
            raise InputError("a supernet needs an arch: supernet(images, arch)")
        return self._default_steps

    def embed(self, x: Tensor) -> Tensor:
        """Map images to the tokens (B, N, D) before the first block."""
        return self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(x))))  # type: ignore[no-any-return]

    def run_blocks(
        self, x: Tensor, steps: tuple[Step, ...], observe: Observer | None = None
    ) -> Flow:
        """Run the blocks on tokens (B, N, D); return the output of the last one.

        Args:
            x: The tokens before the first block.
            steps: The plan, which may end before the last block.
            observe: Called with queries and keys of blocks, see `Observer`.
        """
        flow = Flow(x)
        for i, step in enumerate(steps):
            flow = self.run_step(i, step, flow, observe)
        return flow

    def read_out(self, flow: Flow) -> Tensor:
        """Map the output of the last block to logits (B, classes), or a dense head's map."""
        if isinstance(self.head, DenseHead):
            return self.head(flow.features)
        return self.forward_head(self.norm(flow.all_tokens()))

    def run_step(self, i: int, step: Step, flow: Flow, observe: Observer | None = None) -> Flow:
        """Run block `i` of a plan; `flow` is not changed.

        Args:
            i: Index of the block.
            step: Its step of the plan.
            flow: Output of the block before; `Flow(x)` for block 0.
            observe: Called with queries and keys of blocks, see `Observer`.

        Raises:
            InputError: A dense head reads this block, and a 1-D pooling has left no grid.
        """
        before = flow
        for action in step.actions:
            flow = action.operator.apply(self, action, flow, self._weights(action.operator, i))
        request = self._request(i, step)
        if observe is not None and len(flow.restores) > len(before.restores):
            # Selectors learn from the map over all tokens, also those that bypass the block.
            request = request._replace(tokens=before.x)
        elif observe is not None and not flow.restores and step.after.own_maps:
            request = request._replace(query_key=True)
        args = (self.blocks[i], flow.x, flow.maps, request)
        if self.grad_checkpointing and self.training:
            x, exposed = checkpoint(_call_block, *args, use_reentrant=False)
        else:
            x, exposed = _call_block(*args)
        if observe is not None and exposed.query_key is not None:
            observe(i, *(each.detach() for each in exposed.query_key))
            exposed = exposed._replace(query_key=None)
        after = Flow(x, exposed, flow.restores, features=flow.features)
        if step.restores:
            after = Flow(after.all_tokens(), features=flow.features)
        if isinstance(self.head, DenseHead) and i in self.head.blocks:
            features = self._make_features(after.all_tokens(), _check_grid(i, step))
            after = after._replace(features=(*after.features, features))
        return after

    def _make_features(self, tokens: Tensor, grid: Grid) -> Features:
        """Make the features of a dense head from all tokens (B, N, D) after a block."""
        # One of the two norms is the identity.
        tokens, prefix = self.fc_norm(self.norm(tokens)), self.num_prefix_tokens
        patches = tokens[:, prefix:].transpose(1, 2).unflatten(2, grid)
        return Features(patches, tokens[:, :prefix])

    def _request(self, i: int, step: Step) -> Request:
        """Return the request to block `i` for the operators of the next block."""
        fields: dict[str, Any] = {
            need: need == "maps" or operator.reader(self, need, self._weights(operator, i + 1))
            for need, operator in step.needs
        }
        return Request(**fields)

    def _weights(self, operator: TokenOperator, i: int) -> nn.Module | None:
        modules: Any = operator.modules and getattr(self, operator.modules)
        return modules[str(i)] if modules and str(i) in modules else None


def _call_block(
    block: nn.Module, x: Tensor, maps: Maps | None, request: Request
) -> tuple[Tensor, Exposed]:
    """Call a block; returns its tokens and the tensors exposed by its attention."""
    exchange = Exchange(request, maps)
    x = block(x, exchange=exchange)
    return x, exchange.exposed


def _check_grid(i: int, step: Step) -> Grid:
    """Return the token grid after block `i`, which a dense head reads.

    Raises:
        InputError: A 1-D pooling has left none.
    """
    if step.after.grid is None:
        raise InputError(
            f"the head reads the token grid after block {i}, and a 1-D pooling has left none"
        )
    return step.after.grid


def check_no_mask(attn_mask: Tensor | None = None, is_causal: bool = False) -> None:
    """Refuse an attention mask.

    Raises:
        InputError: An attention mask is given.
    """
    if attn_mask is not None or is_causal:
        raise InputError("attention masks are not supported: pooling changes the tokens")
