"""The public keys of the identity service, fetched and kept (spec "Verifier cache")."""

from __future__ import annotations

import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import aiohttp
import anyio
import msgspec

from memql.auth.keys import PublicKey, ShownKeySet, read_key_set
from memql.errors import Code, MemqlError

__all__ = ["JwksCache"]

log = logging.getLogger(__name__)

_MAX_DOCUMENT_BYTES = 256 * 1024
_REFUSED_KIDS = 1000


class JwksCache:
    """A :class:`memql.auth.keys.KeySource` over HTTP. :meth:`run` fetches; without it no key is ever found.

    All durations are seconds.

    :param url: of the JWKS document.
    :param tls: how an HTTPS server is checked.
    :param refresh: between fetches; an unknown key id asks for one at once, but ``cooldown`` after the last at the
        earliest.
    :param timeout: one fetch may take.
    :param retry: between fetches while no key is known.
    :param negative: how long an id that the service does not know is refused without asking.
    :param lifetime: how long the last good set counts while fetching fails.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        refresh: float = 300.0,
        timeout: float = 10.0,
        retry: float = 3.0,
        cooldown: float = 10.0,
        negative: float = 60.0,
        lifetime: float = 86_400.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._tls = tls
        self._refresh_seconds = refresh
        self._timeout = timeout
        self._retry = retry
        self._cooldown = cooldown
        self._negative = negative
        self._lifetime = lifetime
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {}
        self._fetched: float | None = None
        self._attempted = -cooldown
        self._fetching = False
        self._wanted = anyio.Event()
        self._done = anyio.Event()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._shown = ShownKeySet()

    @property
    def ready(self) -> bool:
        """Whether any key is known."""
        return bool(self._known())

    @property
    def count(self) -> int:
        """How many keys are known."""
        return len(self._known())

    @property
    def fingerprint(self) -> str:
        """What tells this set of keys from others; empty without keys."""
        return self._shown.fingerprint

    @property
    def age(self) -> float | None:
        """Seconds since the last good fetch; None before it."""
        return None if self._fetched is None else self._clock() - self._fetched

    async def find(self, kid: str) -> PublicKey | None:
        """The key of that id; an unknown one is asked for, together with whoever else waits for one.

        :raises MemqlError: ``UNAVAILABLE`` while no key at all is known.
        """
        key = self._known().get(kid)
        if key is None and not self._is_refused(kid):
            key = await self._ask_for(kid)
        if key is None and not self.ready:
            raise MemqlError(
                Code.UNAVAILABLE, "no token can be verified yet: the keys of the identity service are not known"
            )
        return key

    async def run(self) -> None:
        """Fetch now and again until cancelled; a fetch that fails is logged and repeated."""
        try:
            while True:
                await self._refresh()
                with anyio.move_on_after(self._pause()):
                    await self._wanted.wait()
        finally:
            self._shown.show(())

    async def _ask_for(self, kid: str) -> PublicKey | None:
        joined = self._fetching
        if not joined and self._clock() < self._attempted + self._cooldown:
            return None
        done = self._done
        if not joined:
            self._wanted.set()
        with anyio.move_on_after(self._timeout + 1) as waiting:
            await done.wait()
        key = self._known().get(kid)
        # A fetch that was under way already may have been answered before the key was published.
        if key is None and not joined and not waiting.cancelled_caught and self.age is not None and self._is_current():
            self._refuse(kid)
        return key

    def _is_current(self) -> bool:
        """Whether the last attempt succeeded."""
        return self._fetched is not None and self._fetched >= self._attempted

    def _known(self) -> Mapping[str, PublicKey]:
        age = self.age
        return {} if age is None or age > self._lifetime else self._keys

    def _pause(self) -> float:
        if not self.ready:
            return self._retry
        return self._refresh_seconds if self._is_current() else min(self._refresh_seconds, 10 * self._retry)

    async def _refresh(self) -> None:
        self._wanted = anyio.Event()
        self._attempted = self._clock()
        self._fetching = True
        try:
            self._adopt(await self._fetch())
        except MemqlError as error:
            log.warning("the public keys of %s are not refreshed: %s", self.url, error.message)
            self._shown.show(self._known())
        finally:
            self._fetching = False
            done, self._done = self._done, anyio.Event()
            done.set()

    def _adopt(self, keys: Mapping[str, PublicKey]) -> None:
        before = self._shown.fingerprint
        self._keys = keys
        self._fetched = self._clock()
        self._shown.show(keys)
        if self._shown.fingerprint != before:
            log.info("%d public keys of %s (%s)", len(keys), self.url, self._shown.fingerprint)

    async def _fetch(self) -> Mapping[str, PublicKey]:
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(self.url, ssl=self._tls or True, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise MemqlError(Code.UNAVAILABLE, f"status {response.status}")
                document = await _read_all(response)
            keys = read_key_set(msgspec.json.decode(document))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise MemqlError(Code.UNAVAILABLE, str(error) or type(error).__name__) from error
        except msgspec.MsgspecError as error:
            raise MemqlError(Code.UNAVAILABLE, f"the answer is no JSON: {error}") from error
        if not keys:
            raise MemqlError(Code.UNAVAILABLE, "the answer holds no usable key")
        return keys

    def _is_refused(self, kid: str) -> bool:
        until = self._refused.get(kid)
        return until is not None and until > self._clock()

    def _refuse(self, kid: str) -> None:
        self._refused[kid] = self._clock() + self._negative
        self._refused.move_to_end(kid)
        if len(self._refused) > _REFUSED_KIDS:
            self._refused.popitem(last=False)


async def _read_all(response: aiohttp.ClientResponse) -> bytes:
    document = bytearray()
    async for chunk in response.content.iter_any():
        document += chunk
        if len(document) > _MAX_DOCUMENT_BYTES:
            raise MemqlError(Code.UNAVAILABLE, f"the answer is longer than {_MAX_DOCUMENT_BYTES} bytes")
    return bytes(document)
