"""The zip format: its index, the entries of the index, and the content of members. Names and links are judged elsewhere."""
