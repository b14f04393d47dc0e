"""Statistics on plain numpy arrays: permutation, effect sizes, distances, selectivity."""
