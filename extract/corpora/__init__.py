"""Turns each known corpus into a manifest, one file per corpus."""
