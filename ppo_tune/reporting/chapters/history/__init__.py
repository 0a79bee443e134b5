"""How the search went."""
