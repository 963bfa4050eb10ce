"""The slow loop: what was seen of endpoints → health states and weights.

    rule        evidence of each endpoint in nats, without a model: failures, runs, latency, stalls, health checks
    ladder      the state machine of one endpoint: full → lowered → canary → ejected → canary → full
    guard       what may not happen whatever the evidence says: too much load, too fast, the last one, while blind
    weights     state and probability → whole weights, equal while there is nothing to say
    steering    ladder, guard and weights of all endpoints together: the columns that are decided
    account     what an operator is told of all this; forecast puts a prediction into words

Decisions only: nothing here keeps time, sends or publishes.
"""
