"""What `import jaxgen` gives a notebook or a script: training calls that return a run, and never print or exit."""
