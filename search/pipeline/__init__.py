"""The stages of a run: each takes a config, goes on where it stopped, and leaves files."""
