"""The engine: text or a name in, a result out.

Read :mod:`memql.engine.ports`, then :mod:`memql.engine.engine` (the facade) and :mod:`memql.engine.assembly` (how it is
put together); each executor is a package of its own.
"""
