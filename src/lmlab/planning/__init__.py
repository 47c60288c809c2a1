"""Plans of training on other devices: operations, memory, time and cost, computed on the meta device."""
