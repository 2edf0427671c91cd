"""What a client's app is: a tree of small files that Felix interprets, and never code."""
