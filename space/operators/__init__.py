"""The operators: choices, rules and costs, one file per operator."""
