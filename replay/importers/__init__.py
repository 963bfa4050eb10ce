"""Readers of other systems' logs, which make traces of them."""
