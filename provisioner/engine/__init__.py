"""A run: plan, take the lock, build each data set, publish, report.

The network edge and the disk edge meet here and nowhere else.
What is decided without touching anything belongs in :mod:`provisioner.planning`; what is shown belongs in
:mod:`provisioner.reporting`.
"""
