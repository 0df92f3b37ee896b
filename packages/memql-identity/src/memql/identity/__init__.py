"""The identity role: who one is. It issues tokens and keys (spec "Placement").

Read in this order: ``role``, ``service``, ``issuing``, ``keyring``. Nothing is imported here: the commands of this
distribution are looked at whenever somebody asks ``memql`` for help.
"""
