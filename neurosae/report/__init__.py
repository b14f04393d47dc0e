"""The study runner and the self-contained HTML report."""
