"""`python -m minbuild`."""

from minbuild.cli.main import main

main()
