"""Helpers that do not depend on searches: formatting, tables, locks, launchers."""
