"""Turns recordings and texts into frames: one file a modality behind one small contract."""
