"""Translated Markdown: its blocks, and which of them are translations of each other."""
