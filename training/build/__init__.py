"""Recipe to train, dev and test files: read, cleaned, divided, in memory that does not grow."""
