"""The commands, one module a subject; `adaptive.cli` puts them together."""
