"""What the models write."""
