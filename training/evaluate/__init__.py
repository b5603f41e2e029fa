"""Scores with signatures, significance, and the report."""
