"""What makes cells fast: forward and backward over a whole sequence by hand, equal to the equations."""
