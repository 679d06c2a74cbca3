"""The weights of the operators, and what they do to tokens: one file an operator."""
