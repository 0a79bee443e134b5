"""The search: a store, samplers, pruners, the loop that fills places with trials, and its workers."""
