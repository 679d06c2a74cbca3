"""The stages of a run: each takes a config, resumes where it stopped, and writes files."""
