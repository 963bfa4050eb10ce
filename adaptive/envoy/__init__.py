"""Envoy as the data plane: our configuration in its terms, served over xDS, and what it tells us in return.

translate/    configuration and Snapshots as Envoy's resources, in JSON form; pure
bootstrap     what an Envoy must know before it can ask us
messages      Envoy's messages, made at run time from descriptions that the wheel carries
cache         what every Envoy is to have, by version
subscription  what one Envoy has and is owed: the state of a stream, in both protocols; pure
steering      from Snapshots to pushes: which clusters, and when; pure
patience      how long a slow attempt is waited for before it gets a second one beside it; pure
entry         what is told of an attempt
lines         of the log of attempts, as columns and as entries; reader takes them; both pure
attempts      from entries of the access log to Outcomes; pure
plain         the same for many at once, of which there is nothing more to tell; pure
seen          the requests of which attempts were told; pure
unanswered    attempts of which only the others of their request tell what became; pure
server        the gRPC service around all of these
pipe          what an Envoy that is started here writes its lines into, and what becomes of those that nobody reads
process       the Envoy that is started here; binary finds its program
"""
