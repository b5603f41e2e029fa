"""One evaluation: a system and others beside it on held-out text, with all figures."""
