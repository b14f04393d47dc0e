"""Recordings: run the protocol, store and open sessions, pool over tokens."""
