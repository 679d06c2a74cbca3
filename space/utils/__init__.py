"""Utilities: errors, checked reading, files, signals."""
