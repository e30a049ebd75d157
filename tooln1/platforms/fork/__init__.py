"""Python processes that start with verl, torch and vLLM imported, because they are forked from a process that has them.

A run of verl is a dozen processes. Each imports the same four thousand modules, which takes four to eight seconds on a
laptop: most of the time before the first step. Here one process imports them once (server.py). Ray's workers and the
children of multiprocessing start as ``tooln1-python`` (client.py) instead of ``python``, which makes that process fork.
Without a server, ``tooln1-python`` is ``python``.
"""

# Names the server's socket, in the environment of every process of a run.
SOCKET_VARIABLE = "TOOLN1_FORK_SERVER"
