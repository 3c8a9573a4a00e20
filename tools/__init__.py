"""Tools for maintainers: generators of files that must agree with the program, checks and measurements."""
