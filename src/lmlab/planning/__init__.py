"""Plans of training on devices that are not here: operations, memory, time and cost, worked out on the meta device."""
