"""A run: view the volume, plan, take the lock, build each missing data set, publish it, and write how it ended.

Only this package uses both the network (:mod:`provisioner.remote`) and the disk (:mod:`provisioner.volume`), which do not know
each other. What is decided without touching either belongs in :mod:`provisioner.planning`; how things are shown belongs in
:mod:`provisioner.reporting`.

In the order of a run:

1. ``installation`` reads settings and catalog; ``references`` adds what was asked for without an entry; ``request`` turns the
   settings into a request for the planner.
2. ``run`` is the story of a whole run. ``volume_session`` is its access to the volume (directories, store, lock), and
   ``clients`` its access to the network. ``supervise`` lets it work on a second thread, so that signals and the deadline are
   answered at once.
3. ``view`` compares what the volume holds with what was asked for, and ``resumption`` counts what is staged already. With
   nothing to do the run ends here.
4. ``repository_step`` makes sure that the user's data-set repositories exist: those of ``repository_requests``, with the first
   files of ``repository_template``.
5. ``steps`` carries out the plan, several data sets at once where it has space for them: ``side_by_side`` starts them, and
   ``shared_volume`` has what they share. A step that needs bytes is left to ``build``, which tries the data set's sources in
   order:

   - ``reuse`` takes over what the volume already has; ``local_copies`` in staging finds files elsewhere on the machine;
   - ``fetch`` brings the rest, over the connections of ``fetch_threads``, and ``unpack`` unpacks archives, also while they
     arrive; ``plain_files`` puts all other files at their paths;
   - all of them work on one ``staged_tree``, and ``path_claims`` records which of its paths are taken, and by what;
   - ``completed_tree`` merges the parts into a manifest, checks the whole, and lets the store publish it;
   - ``build_limits`` is charged with every byte before it is written, and refuses what the plan or the volume does not allow.

6. ``status_file`` and ``build_progress`` tell how the run gets on; ``app_files`` writes ``provision.env`` and
   ``ATTRIBUTION.md``; ``result`` says how the run ended, and ``run_log`` logs it.

   Before the sources, ``build`` asks other volumes: ``peers`` has what they offer, each of the ``peer_kinds`` reads the records
   of one, and ``peer_checks`` compares them with what is known without it. A peer's files are fetched and reused as artifacts.

Beside a run: ``export`` puts published versions where other volumes can take them; ``verification`` compares trees with their
manifests, and ``repair`` repairs what it finds, one version at a time (``version_repair``, ``repair_outcome``);
``learn_digest`` fetches a file of which nobody states a digest, for a catalog entry.
"""
