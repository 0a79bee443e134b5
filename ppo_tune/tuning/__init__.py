"""A search without a study file: objects of Python in, data frames and figures out."""
