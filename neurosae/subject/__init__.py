"""Subjects: language models behind one interface of numpy arrays."""
