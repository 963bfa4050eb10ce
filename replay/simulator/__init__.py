"""The simulator: gateways in front of a fleet, in virtual time."""
