"""Tasks that networks are trained and evaluated for, one file each."""
