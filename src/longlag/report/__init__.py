"""Tables, pictures and the page of a set of runs, from their records alone."""
