"""`python -m jaxgen`: the same as `jaxgen`, for when the command is not on the path."""

from jaxgen.cli import main

main(prog_name="jaxgen")
