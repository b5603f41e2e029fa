"""Files that people write: strict YAML, every fault at once with its line and the next step."""
