"""Turns run folders into tables, figures and pages."""
