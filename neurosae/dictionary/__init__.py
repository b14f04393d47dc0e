"""Dictionaries (sparse autoencoders): the interface, a planted toy, and loading; torch stays behind it."""
