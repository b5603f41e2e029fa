"""Readers of parallel text, one file per format."""
