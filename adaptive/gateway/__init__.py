"""The embedded data plane and the processes around it: here are the sockets.

Carrying requests, in each worker, from the client inwards:
- `worker`: the event loop, its timers, drain and reload; `plane`: what all connections of a worker share.
- `client`: a connection from a client; `head`: request heads, judged by llhttp and guards; `chunks`: chunked bodies.
- `exchange`: a request and its response; `attempt`: one try at one endpoint; `router`: which route;
  `patience`: time-outs and second copies; `tunnels`: requests whose endpoint switched protocols.
- `cluster`, `upstream`: pools and connections to endpoints; `reply`: response heads; `lines`: the heads we write.
- `fields`, `memo`, `outbox`, `problem`, `access`, `tls`: header fields, what is read once, writes of a turn, our own
  answers, the access log's lines, certificates.

Around them:
- `supervisor`: starts, watches, replaces the others; `fleet`, `process`: its children; `listen`: the sockets it owns;
  `reload`: what may change; `overrides`, `standing`: what operators set, and what is known without a brain;
  `elsewhere`: what may carry requests in the place of the workers.
- `brain`: the slow loop's process; `health`: active checks; `names`: whether endpoints' names can be resolved;
  `modelwatch`: the model store.
- `boot`, `channel`: what a child is told, and how; `parent`, `notify`, `logs`: the manners of a process.
"""
