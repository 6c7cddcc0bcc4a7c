"""What a model still needs before it scores: everything at once, a draft, and a picture."""
