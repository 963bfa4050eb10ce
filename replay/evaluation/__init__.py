"""Evaluation of policies from a recorded trace: a fitted fleet, estimators and their intervals."""
