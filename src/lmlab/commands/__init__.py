"""One file per command: what it does once Hydra has composed its configuration."""
