"""Identity: who people and machines are, and what each may do."""
