"""What happens to a change between its commands: a worker looks, does the one next thing, and writes it down."""
