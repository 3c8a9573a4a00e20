"""Archives: reading their formats, judging names and links, and writing the members as a tree, on all cores.

Where an archive's bytes come from is not known here; they may still be arriving.
"""
