"""Plans: what a train step needs on devices that are not here, from compiling it for them."""
