"""The settings by theme; :class:`memql.config.Settings` is all of them."""
