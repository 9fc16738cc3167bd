"""Turns cached features into trained fusion models, their predictions and their scores."""
