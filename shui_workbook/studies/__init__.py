"""Questions asked of many experiments: settings, single people, ablations, sequences of requests, trade-offs.

Each takes experiments and returns a table.
"""
