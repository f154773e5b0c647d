"""Many runs by one command: launchers, worker processes, clusters, tuning, memory horizons, published runs."""
