"""Networks as the books write them: thin faces over the library, with the books' names."""
