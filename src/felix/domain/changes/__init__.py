"""How an app changes: typed operations that become edits, the diff of two trees, its effects and its risk."""
