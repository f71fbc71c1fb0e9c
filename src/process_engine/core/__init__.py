"""How an execution behaves: a pure function over frozen records. No I/O, no clock, no randomness."""
