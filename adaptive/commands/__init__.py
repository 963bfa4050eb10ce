"""The commands around replay, one module each; `adaptive.cli` puts them together."""
