-- Since when a cursor reads. Its position alone cannot say: it must stay below every number that may still commit, and
-- other rows above it have committed already.

ALTER TABLE mesh_cursors ADD COLUMN IF NOT EXISTS begun pg_snapshot;
ALTER TABLE mesh_cursors ADD COLUMN IF NOT EXISTS begun_upto bigint;

COMMENT ON COLUMN mesh_cursors.begun IS
    'what had committed when the cursor was made: such rows are not for its reader; null when that does not matter';
COMMENT ON COLUMN mesh_cursors.begun_upto IS
    'the last number drawn when the cursor was made; begun says nothing about later ones';
