"""`python -m xpnet` is the same as `xpnet`."""

from xpnet.cli import main

main()
