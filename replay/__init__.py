"""How good are the decisions: traces, scenarios, a simulator, baselines, estimators and the report comparing them."""
