"""The disk edge: everything that reads or writes the volume, from single system calls up to published data sets.

Nothing here opens a network connection or knows the settings; the engine passes plain values.
"""
