"""Commands, one file each: their tasks, which run after Hydra has composed the configuration."""
