"""Envoy as the data plane: our configuration in its terms, served over xDS, and what it tells us in return.

messages    Envoy's messages, made at run time from descriptions that the wheel carries
"""
