-- The store: an append-only log with one row per version, the latest version of every id, and what nodes read from.

-- An instant as it appears everywhere: RFC 3339, UTC, microseconds. STABLE as to_char is: a body more volatile than its
-- function is never inlined, and every row read from the log would pay a call.
CREATE FUNCTION memql_moment(value timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN to_char(value AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- The same for generated columns, which take immutable functions only; this format depends on no setting.
CREATE FUNCTION memql_stamp(value timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN memql_moment(value);

-- One sequence for both logs: a version's number is also the identity of its event.
CREATE SEQUENCE memory_seq AS bigint CACHE 1;

-- xid stands before seq: defaults are computed in column order, and a number drawn before the transaction has its id
-- could commit behind a reader that already passed it. updated tells versions that an update wrote: a reader of the
-- log publishes the same events for a row as the writer did.
CREATE TABLE memory_nodes (
    id          text COLLATE "C" NOT NULL,
    created_at  timestamptz NOT NULL,
    concept     text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL,
    created_by  text COLLATE "C" NOT NULL,
    schema      jsonb NOT NULL,
    payload     jsonb NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    provenance  jsonb NOT NULL,
    deleted     boolean NOT NULL DEFAULT false,
    updated     boolean NOT NULL DEFAULT false,
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq         bigint NOT NULL DEFAULT nextval('memory_seq'),
    PRIMARY KEY (id, created_at)
);
CREATE INDEX memory_nodes_seq ON memory_nodes (seq);

-- previous_seq is the version that the latest one replaced; null for a first version. moment is created_at as text:
-- formatting it costs more than everything else that a row of a listing costs.
CREATE TABLE memory_heads (
    id            text COLLATE "C" PRIMARY KEY,
    created_at    timestamptz NOT NULL,
    concept       text COLLATE "C" NOT NULL,
    type          text COLLATE "C" NOT NULL,
    created_by    text COLLATE "C" NOT NULL,
    schema        jsonb NOT NULL,
    payload       jsonb NOT NULL,
    metadata      jsonb NOT NULL DEFAULT '{}',
    provenance    jsonb NOT NULL,
    deleted       boolean NOT NULL DEFAULT false,
    seq           bigint NOT NULL,
    previous_seq  bigint,
    moment        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (memql_stamp(created_at)) STORED
) WITH (fillfactor = 85);
CREATE INDEX memory_heads_latest ON memory_heads (concept, deleted, created_at DESC, id);

CREATE TABLE secret_memory_nodes (LIKE memory_nodes INCLUDING ALL);
CREATE TABLE secret_memory_heads (LIKE memory_heads INCLUDING ALL);

CREATE TABLE event_outbox (
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    seq          bigint GENERATED ALWAYS AS IDENTITY,
    event_id     text COLLATE "C" NOT NULL UNIQUE,
    routing_key  text COLLATE "C",
    topic        text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    payload      jsonb NOT NULL,
    origin_node  text COLLATE "C" NOT NULL,
    actor        text COLLATE "C" NOT NULL DEFAULT '',
    cause        text COLLATE "C" NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz
);
CREATE INDEX event_outbox_seq ON event_outbox (seq);
CREATE INDEX event_outbox_routing_key ON event_outbox (routing_key, seq);

CREATE TABLE mesh_cursors (
    consumer_id  text COLLATE "C" NOT NULL,
    source       text COLLATE "C" NOT NULL,
    position     bigint NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_id, source)
);

-- lz4 decompresses several times faster than the default; a server built without it keeps the default.
DO $$
DECLARE
    target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['memory_nodes', 'memory_heads', 'secret_memory_nodes', 'secret_memory_heads'] LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN payload SET COMPRESSION lz4', target);
    END LOOP;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'lz4 is not available; payloads keep the default compression';
END
$$;

-- Time partitions for the log where the TimescaleDB extension has been created in this database. Nothing needs it, so
-- nothing about it may stop a migration.
DO $$
DECLARE
    home text;
BEGIN
    SELECT n.nspname INTO home
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'timescaledb';
    IF FOUND THEN
        EXECUTE format('SELECT %I.create_hypertable(''memory_nodes'', ''created_at'', migrate_data => true)', home);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'the log stays a plain table: TimescaleDB refused it (%)', SQLERRM;
END
$$;
