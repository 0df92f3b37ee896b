-- Cursors of roles: what a role has decided, and since when it was not heard of any more. What the one cursor of earlier
-- releases has decided goes to the role that a single process plays.

ALTER TABLE mesh_cursors ADD COLUMN IF NOT EXISTS caught_up_at timestamptz;
ALTER TABLE mesh_cursors ADD COLUMN IF NOT EXISTS lapsed_at timestamptz;

COMMENT ON COLUMN mesh_cursors.caught_up_at IS
    'what was drawn by then this consumer has decided, and will not read again; null when nobody knows';
COMMENT ON COLUMN mesh_cursors.lapsed_at IS
    'when the cursor was given up because its consumer was away too long; it begins anew when the consumer returns';

UPDATE mesh_cursors AS old SET consumer_id = 'role:bff'
WHERE consumer_id = 'automations' AND NOT EXISTS (
    SELECT FROM mesh_cursors AS new WHERE new.consumer_id = 'role:bff' AND new.source = old.source
);

CREATE TABLE IF NOT EXISTS automation_places (
    consumer_id text        PRIMARY KEY,
    executors   text[]      NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE automation_places IS 'which executors the nodes of each role bring, as the last one to start said';
