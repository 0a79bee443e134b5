"""Whether the reward was exploited."""
