"""Plans: compiles a train step for devices that are not here, and reports what it needs."""
