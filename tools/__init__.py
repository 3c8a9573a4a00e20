"""What maintainers run: generators of files that must not drift from the program."""
