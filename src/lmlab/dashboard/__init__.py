"""What ``lmlab report`` shows, live in a browser while runs and sweeps are under way."""
