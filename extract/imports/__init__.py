"""Turns features that others made into feature files."""
