"""Sweeps: policies × scenarios × fleets × loads × seeds, each a cell that becomes a row of figures.

- `cells`: a cell, the grid of them, and the scenario of each.
- `measure`: what one cell costs and gives: simulate, and make a row.
- `spread`: cells on all cores, or on a Dask or Ray cluster, by joblib's backends.
- `rows`: rows as CSV, written as they come and read again to go on.
- `again`: whether rows are still what the simulator gives; `kept`: few figures of many rows, kept beside the code.
- `regret`: what the rows say of each policy, relative to the clairvoyant and to the best baseline; `picture`: the same
  as one picture.
"""
