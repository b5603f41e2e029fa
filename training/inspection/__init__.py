"""What `dragoman data inspect` shows of a recipe's text."""
