"""What knows nothing of archs: errors, checked reading, files, signals."""
