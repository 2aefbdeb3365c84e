"""`python -m eubchain` is the `eubchain` command."""

from eubchain.cli.main import main

main()
