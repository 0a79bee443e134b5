"""What decided whether a trial was good: statistics, words and figures."""
