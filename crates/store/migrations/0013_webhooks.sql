CREATE TABLE webhooks (
    id               TEXT    NOT NULL PRIMARY KEY,
    workspace_id     BIGINT  NOT NULL REFERENCES workspaces (id),
    url              TEXT    NOT NULL,
    name             TEXT,
    -- JSON list of types of events
    events           TEXT    NOT NULL,
    -- sealed with a key of the root keys (core: at_rest.rs)
    secret           TEXT    NOT NULL,
    enabled          BOOLEAN NOT NULL,
    created_at       BIGINT  NOT NULL,
    updated_at       BIGINT  NOT NULL,
    -- the janitor removes its deliveries, then the row
    deleted_at       BIGINT,
    -- counted with each delivery
    total            BIGINT  NOT NULL DEFAULT 0,
    succeeded        BIGINT  NOT NULL DEFAULT 0,
    failed           BIGINT  NOT NULL DEFAULT 0,
    pending          BIGINT  NOT NULL DEFAULT 0,
    duration_ms_sum  BIGINT  NOT NULL DEFAULT 0,
    duration_ms_max  BIGINT  NOT NULL DEFAULT 0,
    last_delivery_at BIGINT,
    -- when its next delivery is due; NULL: none, or it is disabled
    due_at           BIGINT,
    -- the process that sends its deliveries
    lease_owner      TEXT,
    lease_until      BIGINT
);
CREATE INDEX webhooks_of_workspace ON webhooks (workspace_id, id) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhooks_leased ON webhooks (lease_owner) WHERE lease_owner IS NOT NULL;
CREATE INDEX webhooks_deleted ON webhooks (deleted_at) WHERE deleted_at IS NOT NULL;

-- Written in the transaction of the event that is sent.
CREATE TABLE webhook_deliveries (
    webhook_id        TEXT    NOT NULL REFERENCES webhooks (id),
    -- of the event; a test and a resend draw a number of their own
    seq               BIGINT  NOT NULL,
    event_id          TEXT    NOT NULL,
    -- the delivery that this one repeats
    original_event_id TEXT,
    event             TEXT    NOT NULL,
    event_at          BIGINT  NOT NULL,
    -- 0: the event is about no CVM
    cvm_id            BIGINT  NOT NULL,
    -- the CVM as it was then
    vm_uuid           TEXT,
    cvm_name          TEXT,
    app_id            TEXT,
    phase             TEXT,
    -- details, JSON
    data              TEXT    NOT NULL,
    status            TEXT    NOT NULL CHECK (status IN ('pending', 'success', 'failed')),
    attempts          BIGINT  NOT NULL,
    -- NULL: it has ended, or waits for an earlier one of its CVM
    due_at            BIGINT,
    request_url       TEXT    NOT NULL,
    -- 0: there was no response
    response_status   BIGINT  NOT NULL,
    error             TEXT    NOT NULL,
    duration_ms       BIGINT  NOT NULL,
    created_at        BIGINT  NOT NULL,
    delivered_at      BIGINT,
    PRIMARY KEY (webhook_id, seq)
);
CREATE UNIQUE INDEX webhook_deliveries_by_event ON webhook_deliveries (webhook_id, event_id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, cvm_id, seq) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_age ON webhook_deliveries (created_at) WHERE status <> 'pending';
