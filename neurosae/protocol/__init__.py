"""Protocols: the TOML models and the contrast language."""
