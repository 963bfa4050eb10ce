"""The policies that Adaptive is compared with, each from its source, behind the Balancer interface."""
