"""What runs on Ray: the only package that imports it."""
