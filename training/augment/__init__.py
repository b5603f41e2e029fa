"""Changes to training text, so that a model meets what users send: noise, tags, terms, examples."""
