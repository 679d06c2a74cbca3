"""The supported timm models, their blocks, and their pretrained weights."""
