"""Envoy as the data plane: our configuration in its terms, served over xDS, and what it tells us in return.

translate/  configuration and Snapshots as Envoy's resources, in JSON form; pure
bootstrap   what an Envoy must know before it can ask us
messages    Envoy's messages, made at run time from descriptions that the wheel carries
"""
