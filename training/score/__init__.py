"""Scores of pairs by a model, to find wrong ones that no rule of cleaning sees."""
