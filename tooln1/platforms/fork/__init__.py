"""Python processes that start with verl, torch and vLLM already imported, because they are forked from one that has.

A run of verl is a dozen processes, each importing the same four thousand modules for four to eight seconds, one after
the other: on a laptop that is most of the time before the first step. Here one process imports them once (server.py);
``tooln1-python`` (client.py) takes the place of ``python`` in Ray's workers and multiprocessing's children and has that
process fork. Without a server it is python itself.
"""

# Names the server's socket, in the environment of every process of a run.
SOCKET_VARIABLE = "TOOLN1_FORK_SERVER"
