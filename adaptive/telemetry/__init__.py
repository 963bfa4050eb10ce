"""What is measured, and how it travels between the processes.

shared      memory that several processes map, through an inherited descriptor
ring        outcomes from one worker to the brain: one writer, one reader, bounded
columns     the reader's side of the ring, in numpy
board       what every process sees: the snapshot in force, live counts, heartbeats
counters    each worker's counts, for the metrics; tally counts many finished requests at once
recorder    outcomes to rotated files, in the brain
recording   the format of those files, and reading them
event_log   all that the brain is told and commands, to files that events describes
holding     which process has a file of these: several may share a directory
access_log  one JSON line a request, in the worker
load_report an endpoint's own report of its load, from its header
durations   a histogram inside one process
metrics     all of it as Prometheus text, in the supervisor; brain_metrics, envoy_metrics and families help it

A worker imports shared, ring, board, counters and access_log only: none of them loads numpy.
"""
