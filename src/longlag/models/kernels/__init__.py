"""Fast versions of the recurrent cells: hand-written forward and backward passes, equal to the reference equations."""
