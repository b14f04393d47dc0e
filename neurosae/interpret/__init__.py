"""Interpretation of features."""
