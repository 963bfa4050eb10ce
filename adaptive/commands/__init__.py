"""The commands around replay, models and Envoy, one module each; `adaptive.cli` puts them together."""
