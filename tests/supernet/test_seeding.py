"""What is drawn is a function of a key."""
