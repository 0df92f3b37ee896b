-- Fenced claims: who runs what, until when, and what the run has already done. All instants are this server's clock.

CREATE TABLE IF NOT EXISTS automation_execution_claims (
    automation_name text        NOT NULL,
    dedup_key       text        NOT NULL,
    claimed_by      text        NOT NULL,
    claimed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    epoch           bigint      NOT NULL DEFAULT 1,
    lease_until     timestamptz NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at    timestamptz,
    outcome         text,
    error           text,
    event           bytea       NOT NULL,
    PRIMARY KEY (automation_name, dedup_key)
);

COMMENT ON TABLE automation_execution_claims IS
    'One row per run of an automation. Each take-over raises epoch; a write of the run checks the epoch it began with.';
COMMENT ON COLUMN automation_execution_claims.claimed_by IS 'the claiming process: node id, slash, incarnation';
COMMENT ON COLUMN automation_execution_claims.started_at IS 'when the run was first claimed: what the run sees as now';

CREATE INDEX IF NOT EXISTS automation_execution_claims_open
    ON automation_execution_claims (lease_until) WHERE completed_at IS NULL;
CREATE INDEX IF NOT EXISTS automation_execution_claims_done
    ON automation_execution_claims (completed_at) WHERE completed_at IS NOT NULL;

CREATE TABLE IF NOT EXISTS automation_run_journal (
    automation_name text        NOT NULL,
    dedup_key       text        NOT NULL,
    place           text        NOT NULL,
    target          text        NOT NULL,
    result          bytea       NOT NULL,
    epoch           bigint      NOT NULL,
    PRIMARY KEY (automation_name, dedup_key, place)
);

COMMENT ON TABLE automation_run_journal IS
    'What each call of an unfinished run gave, committed with the call''s own effect, so that a repeat skips it.';

CREATE TABLE IF NOT EXISTS cron_leadership (
    only_row boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    bigint      NOT NULL,
    leader   text        NOT NULL,
    since    timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat     timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON COLUMN cron_leadership.beat IS
    'when the leader last showed that it runs; a session whose process is stopped keeps its lock but not its beat';

CREATE TABLE IF NOT EXISTS cron_schedules (
    automation_name text        PRIMARY KEY,
    schedule        text        NOT NULL,
    fired_until     timestamptz NOT NULL
);

COMMENT ON COLUMN cron_schedules.fired_until IS
    'every instant of the schedule up to here has fired or been passed over; starts when the schedule is first seen';

CREATE TABLE IF NOT EXISTS cron_firings (
    automation_name text        NOT NULL,
    scheduled_at    timestamptz NOT NULL,
    fired_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    fired_by        text        NOT NULL,
    epoch           bigint      NOT NULL,
    PRIMARY KEY (automation_name, scheduled_at)
);

CREATE INDEX IF NOT EXISTS cron_firings_fired_at ON cron_firings (fired_at);
