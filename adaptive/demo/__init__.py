"""`adaptive demo`: three gateways on the same faults and the same arrivals, shown live and compared at the end.

    schedule    the world of the demo, a scenario: what happens to which instance and when, and how it is told
    figures     what is computed from the results: counts, quantiles, how early a crash was seen coming
    gateways    configuration of the three gateways, and the command that starts one
    processes   subprocesses that end with the demo, however it ends
    watch       what the gateway under test says of itself, read from its admin API
    screen      the live picture and the closing table, for the terminal
    run         all of it together; `main` is the command

Each fleet, each load (`adaptive.arena`) and each gateway is a process of its own; nothing but sockets and pipes lies
between them.
"""
