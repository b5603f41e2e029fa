"""Synthetic pairs: real text on one side, an engine's translation of it on the other."""
