"""Acting on the volume from the page of ``serve``: who may, what can be asked for, and the process that carries it out.

Imported only where ``UI_TOKEN`` is set. What is done is done by the program's own commands; nothing here reaches the engine.
"""
