"""Running what was trained without a server: lines in, lines out."""
