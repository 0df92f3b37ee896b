"""The subscriptions of one session."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from memql.errors import Code, MemqlError
from memql.server.subscriptions.feed import Feed
from memql.wire.messages import SubscribeMsg

if TYPE_CHECKING:
    from memql.server.session import Session

__all__ = ["Subscriptions"]


class Subscriptions:
    """Feeds by subscription id; a live id that is used again is replaced."""

    __slots__ = ("_feeds", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._feeds: dict[str, Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def open(self, message: SubscribeMsg, message_id: str) -> None:
        """Start a subscription; its acknowledgement or error is sent by its task.

        :raises MemqlError: ``RESOURCE_EXHAUSTED`` when the stream holds as many as it may.
        """
        subscription_id = message.subscription_id or message_id or uuid.uuid4().hex
        previous = self._feeds.pop(subscription_id, None)
        if previous is not None:
            previous.scope.cancel()
        most = self._session.limits.subscriptions
        if len(self._feeds) >= most:
            raise MemqlError(
                Code.RESOURCE_EXHAUSTED, f"the stream holds {most} subscriptions already; unsubscribe some first"
            )
        feed = Feed(self._session, subscription_id, message, message_id)
        self._feeds[subscription_id] = feed
        self._session.start(self._run, feed, name=f"subscription {subscription_id}")

    def close(self, subscription_id: str) -> bool:
        """End a subscription; False when there is none of that id."""
        feed = self._feeds.pop(subscription_id, None)
        if feed is None:
            return False
        feed.scope.cancel()
        return True

    def recheck(self) -> None:
        """End the subscriptions that the caller's role no longer covers."""
        self._feeds = {name: feed for name, feed in self._feeds.items() if feed.recheck()}

    async def _run(self, feed: Feed) -> None:
        try:
            await feed.run()
        finally:
            if self._feeds.get(feed.id) is feed:
                del self._feeds[feed.id]
