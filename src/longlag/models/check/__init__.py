"""Checks that a core keeps its contract, before it trains."""
