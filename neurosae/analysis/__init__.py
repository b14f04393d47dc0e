"""Analyses of responses: contrast maps, RSA, selectivity, decoders."""
