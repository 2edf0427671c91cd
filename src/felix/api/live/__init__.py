"""``GET /v1/live``: what happens, told as it happens, over one connection that carries several topics.

``endpoint`` reads the request, ``stream`` writes one connection, ``hub`` admits and wakes all connections of the
process, ``sources`` share what they read of the log, ``states`` and ``topics`` tell what read models say now. A state
topic is a file of this package with a ``TOPIC`` in it, such as ``balances``; adding one edits no other.
"""
