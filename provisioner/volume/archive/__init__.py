"""Archives: reading their formats, judging names and links, and writing the members as a tree, on all cores.

Nothing here depends on where the bytes of an archive come from; they may still be arriving.
"""
