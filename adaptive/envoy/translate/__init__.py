"""Our configuration in Envoy's terms: pure functions from a Config to messages in their JSON form.

resources   all of it together: the listeners, routes and clusters of a configuration, by name
listeners   where clients are served: addresses, TLS, limits, time-outs, our own answers
routes      virtual hosts and routes in the order of their specificity; retries by what a method allows
clusters    how endpoints are reached: time-outs, limits, retry budgets, health checks, TLS
endpoints   a Snapshot as weights and health statuses
logs        the access log of attempts, which the brain reads, and that of requests
unsaid      what cannot be said in Envoy's terms
words       names, durations and typed extensions

Nothing here needs a protobuf library: `adaptive.envoy.messages.parse` makes messages of what these functions return.
"""
