"""Filters of parallel text, each with its count."""
