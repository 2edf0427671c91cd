"""The application performs: commands run in lanes, batched, each batch one transaction."""
