"""Dictionaries: sparse autoencoders and transcoders behind one interface."""
