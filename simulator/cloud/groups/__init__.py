"""Thing groups, static and dynamic, on the one registry of them."""
