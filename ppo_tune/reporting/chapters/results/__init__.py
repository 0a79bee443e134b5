"""Who won, and how sure that is."""
