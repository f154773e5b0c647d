"""A core is held to its contract before it trains."""
