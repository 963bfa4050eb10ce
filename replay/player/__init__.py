"""Live replay: recorded requests sent again, at the recorded moments, to a target that may be tried."""
