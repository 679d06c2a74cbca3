"""The problem that a search solves: costs, objectives, budgets, and evaluation results."""
