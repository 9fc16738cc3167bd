"""Turns a corpus of recordings into HDF5 caches of frozen encoder features."""
