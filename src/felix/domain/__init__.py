"""The domain decides: aggregates, commands, events, errors and values, without clock, id generator or I/O."""
