"""Turns frames of several modalities into logits: one file a fusion, their layers, and the registry."""
