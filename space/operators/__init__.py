"""What a block may do with its tokens and its attention: one file an operator."""
