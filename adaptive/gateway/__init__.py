"""The embedded data plane: worker processes that carry requests from clients to endpoints.

- `router`: which route a request takes.
"""
