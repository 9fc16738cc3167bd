"""Turns trainings into run folders, and run folders into runs; nothing else knows the files in them."""
