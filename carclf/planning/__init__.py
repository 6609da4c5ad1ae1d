"""Plans the stages that fit a budget of time, from timings of this machine and the measured effects of the ledger."""
