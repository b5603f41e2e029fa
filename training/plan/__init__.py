"""What a run needs, said before it starts. Imports no torch, except to count parameters."""
