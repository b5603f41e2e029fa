"""From parallel text to a published adapter: recipe, corpus, clean, split, fit, evaluate, gate."""
