"""Live replay, the part with sockets: `connection` is one connection to the target, `sender` sends what is due."""
