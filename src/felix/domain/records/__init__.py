"""Records: what clients keep in their apps. Each is a stream of its own, whatever release is active."""
