"""What keeps this machine from running a bundle, or from running it fast."""
