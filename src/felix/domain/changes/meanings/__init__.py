"""The rules by which a difference between two trees becomes an effect: one room of an app a file."""
