"""Privacy: whom data is about, and what is left when it was erased."""
