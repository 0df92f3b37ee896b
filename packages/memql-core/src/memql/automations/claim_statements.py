"""The statements of :mod:`memql.automations.claims`.

Whoever waits for row locks here takes them sorted by key; the others skip rows that are locked. A claim that is refused
locks nothing: under many processes most claims are refused. Arrays go over in binary: as text, their elements would be
escaped one by one.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "ABANDON",
    "CLAIM",
    "COMPLETE",
    "DEFER",
    "JOURNAL",
    "LEAVE",
    "PRUNE",
    "RECORD",
    "RELEASE",
    "RENEW",
    "TAKE_OVER",
]

_MINE: Final = """
    SELECT held.automation_name, held.dedup_key{further}
    FROM unnest(%b::text[], %b::text[], %b::bigint[]{types}) AS mine (automation_name, dedup_key, epoch{further_names})
    JOIN automation_execution_claims AS held ON held.automation_name = mine.automation_name
        AND held.dedup_key = mine.dedup_key AND held.epoch = mine.epoch AND held.completed_at IS NULL
    ORDER BY held.automation_name, held.dedup_key FOR UPDATE OF held
"""
_HELD: Final = _MINE.format(further="", types="", further_names="")
_ENDED: Final = _MINE.format(
    further=", mine.outcome, mine.error", types=", %b::text[], %b::text[]", further_names=", outcome, error"
)

CLAIM: Final = """
WITH wanted AS (
    SELECT name, key, event FROM unnest(%(names)b::text[], %(keys)b::text[], %(events)b::bytea[])
        AS wanted (name, key, event)
), fresh AS (
    INSERT INTO automation_execution_claims (automation_name, dedup_key, claimed_by, lease_until, event)
    SELECT name, key, %(owner)s, clock_timestamp() + %(lease)s, event FROM wanted ORDER BY name, key
    ON CONFLICT (automation_name, dedup_key) DO NOTHING
    RETURNING automation_name, dedup_key, epoch, started_at
), expired AS (
    SELECT held.automation_name, held.dedup_key FROM wanted
    JOIN automation_execution_claims AS held ON held.automation_name = wanted.name AND held.dedup_key = wanted.key
    WHERE held.completed_at IS NULL AND held.lease_until < clock_timestamp()
    FOR UPDATE OF held SKIP LOCKED
), taken AS (
    UPDATE automation_execution_claims AS held
    SET claimed_by = %(owner)s, claimed_at = clock_timestamp(), epoch = held.epoch + 1,
        lease_until = clock_timestamp() + %(lease)s
    FROM expired WHERE held.automation_name = expired.automation_name AND held.dedup_key = expired.dedup_key
    RETURNING held.automation_name, held.dedup_key, held.epoch, held.started_at
)
SELECT * FROM fresh UNION ALL SELECT * FROM taken
"""

LEAVE: Final = """
INSERT INTO automation_execution_claims (automation_name, dedup_key, claimed_by, epoch, lease_until, event)
VALUES (%s, %s, '', 0, clock_timestamp(), %s)
ON CONFLICT (automation_name, dedup_key) DO NOTHING
"""

TAKE_OVER: Final = """
UPDATE automation_execution_claims AS held
SET claimed_by = %s, claimed_at = clock_timestamp(), epoch = held.epoch + 1, lease_until = clock_timestamp() + %s
FROM (
    SELECT automation_name, dedup_key FROM automation_execution_claims
    WHERE completed_at IS NULL AND lease_until < clock_timestamp() AND automation_name = ANY (%s)
    ORDER BY lease_until LIMIT %s FOR UPDATE SKIP LOCKED
) AS expired
WHERE held.automation_name = expired.automation_name AND held.dedup_key = expired.dedup_key
RETURNING held.automation_name, held.dedup_key, held.epoch, held.started_at, held.event
"""

RENEW: Final = f"""
WITH mine AS MATERIALIZED ({_HELD})
UPDATE automation_execution_claims AS held SET lease_until = clock_timestamp() + %s
FROM mine WHERE held.automation_name = mine.automation_name AND held.dedup_key = mine.dedup_key
RETURNING held.automation_name, held.dedup_key
"""

COMPLETE: Final = f"""
WITH mine AS MATERIALIZED ({_ENDED}), done AS (
    UPDATE automation_execution_claims AS held
    SET completed_at = clock_timestamp(), outcome = mine.outcome, error = mine.error
    FROM mine WHERE held.automation_name = mine.automation_name AND held.dedup_key = mine.dedup_key
    RETURNING held.automation_name, held.dedup_key
), swept AS (
    DELETE FROM automation_run_journal AS journal USING done
    WHERE journal.automation_name = done.automation_name AND journal.dedup_key = done.dedup_key
)
SELECT automation_name, dedup_key FROM done
"""

RELEASE: Final = f"""
WITH mine AS MATERIALIZED ({_HELD})
UPDATE automation_execution_claims AS held SET lease_until = clock_timestamp()
FROM mine WHERE held.automation_name = mine.automation_name AND held.dedup_key = mine.dedup_key
"""

# Nobody owns what is put off, and its epoch goes back: whoever takes it up takes nothing over.
DEFER: Final = """
UPDATE automation_execution_claims SET claimed_by = '', epoch = epoch - 1, lease_until = clock_timestamp() + %s
WHERE automation_name = %s AND dedup_key = %s AND epoch = %s AND completed_at IS NULL
"""

RECORD: Final = """
WITH held AS (
    SELECT 1 FROM automation_execution_claims
    WHERE automation_name = %s AND dedup_key = %s AND epoch = %s AND completed_at IS NULL
    FOR SHARE
)
INSERT INTO automation_run_journal (automation_name, dedup_key, place, target, result, epoch)
SELECT %s, %s, entry.place, entry.target, entry.result, %s
FROM held, unnest(%b::text[], %b::text[], %b::bytea[]) AS entry (place, target, result)
"""

JOURNAL: Final = """
SELECT place, target, result FROM automation_run_journal WHERE automation_name = %s AND dedup_key = %s
"""

PRUNE: Final = """
WITH role AS (
    SELECT min(coalesce(caught_up_at, '-infinity')) AS caught_up_at FROM mesh_cursors
    WHERE starts_with(consumer_id, 'role:') AND source IN ('log', 'outbox') AND lapsed_at IS NULL
)
DELETE FROM automation_execution_claims WHERE ctid = ANY (ARRAY(
    SELECT held.ctid FROM automation_execution_claims AS held, role
    WHERE held.completed_at < least(statement_timestamp() - %s, role.caught_up_at)
    LIMIT %s FOR UPDATE OF held SKIP LOCKED
))
"""

ABANDON: Final = """
WITH dead AS (
    UPDATE automation_execution_claims SET completed_at = clock_timestamp(), outcome = 'abandoned',
        error = 'no process that can run this automation took the run over'
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM automation_execution_claims
        WHERE completed_at IS NULL AND lease_until < clock_timestamp() - CASE
            WHEN epoch = 0 AND starts_with(dedup_key, 'cron:') THEN %s
            WHEN automation_name = ANY (%s) THEN %s
            ELSE %s END
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING automation_name, dedup_key
)
DELETE FROM automation_run_journal AS journal USING dead
WHERE journal.automation_name = dead.automation_name AND journal.dedup_key = dead.dedup_key
"""
