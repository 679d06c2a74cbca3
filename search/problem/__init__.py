"""What a search looks for: costs, objectives, budgets, and what an evaluation gave."""
