"""The operations: everything that a change can do to an app, one noun a file; ``union`` has all of them."""
