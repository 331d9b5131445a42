"""Black-box tests of the daemon: what they share."""
