"""PPO for K trials over one language model; does not know that it is being tuned."""
