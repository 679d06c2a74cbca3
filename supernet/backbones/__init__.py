"""Which of timm's models are served, their blocks, and their weights."""
