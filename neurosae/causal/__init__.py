"""Causal experiments: lesions and stimulations beside intact and matched shams."""
