"""A config whose run is made in a moment."""

CONFIG = """
backbone:
  model: vit_tiny_patch16_224
  args: {img_size: 16, patch_size: 4, embed_dim: 16, depth: 4, num_heads: 2}
data: {batch: 16, workers: 0, train_limit: 120, test_limit: 40, search_share: 0.3}
space:
  pool: {kinds: [avg2d], grids: [2], max_pools: 1}
  share: {max_run: 1}
  skip: {ratios: [0.5], selectors: [map]}
supernet: {epochs: 1, random_archs: 1}
search: {sampler: EvolutionSampler}
"""
