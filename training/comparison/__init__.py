"""Several systems on one test set: trained, asked with examples, or behind an address."""
