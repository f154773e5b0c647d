"""Makes tables, pictures and the HTML page of a set of runs from their records only."""
