"""What makes apps run: their releases, and what is measured of them."""
