"""Stimulus tables: load, validate, report their balance."""
