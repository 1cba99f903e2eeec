"""What a render must be."""
