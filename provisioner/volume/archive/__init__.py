"""Archives: reading their formats, judging names and links, and writing the members as a tree, on all cores.

Where the bytes of an archive come from is not known here; they may still be arriving.
"""
