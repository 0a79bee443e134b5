"""How the trials ran, ended, and what they cost."""
