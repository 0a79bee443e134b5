"""One file or folder for each question that a page answers; a chapter imports no other chapter."""
