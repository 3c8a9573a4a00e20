"""Acting on the volume from the page of ``serve``: who may do so, what can be requested, and the process that carries it out.

Imported only if ``UI_TOKEN`` is set. The program's own commands do the work; nothing here accesses the engine.
"""
