"""The methods of fine-tuning: what a recipe says, how each is attached, and how it is served."""
