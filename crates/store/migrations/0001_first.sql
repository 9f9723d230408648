-- One text for SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN; JSON and hex as TEXT; times as
-- microseconds since 1970 UTC; no sequences, no now(). NOT NULL stands beside PRIMARY KEY because
-- SQLite would let it be NULL. See docs/database.md.

-- Numbers are drawn here, in the transaction that uses them. For events that is the point: drawing
-- serialises writers until commit, so a reader at position n never sees n + 1 appear before n.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('user', 0), ('workspace', 0), ('node', 0), ('cvm', 0), ('event', 0);

CREATE TABLE users (
    id         BIGINT NOT NULL PRIMARY KEY,
    username   TEXT   NOT NULL UNIQUE,
    email      TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE workspaces (
    id         BIGINT NOT NULL PRIMARY KEY,
    slug       TEXT   NOT NULL UNIQUE,
    name       TEXT   NOT NULL,
    wallet     TEXT   NOT NULL UNIQUE,
    next_nonce BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- what becomes of an update that drops a variable which the compose file uses
    env_guard  TEXT   NOT NULL DEFAULT 'report' CHECK (env_guard IN ('report', 'refuse'))
);

-- Tokens are kept as SHA-256 only.
CREATE TABLE api_keys (
    hash         TEXT   NOT NULL PRIMARY KEY,
    user_id      BIGINT NOT NULL REFERENCES users (id),
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    name         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT
);

CREATE TABLE nodes (
    id         BIGINT  NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL,
    -- the instance in whose data directory the node keeps its files: nobody else can work on it
    owner      TEXT    NOT NULL,
    -- that instance has said that it serves the node until then
    kept_until BIGINT  NOT NULL,
    -- where that instance's gateway listens, for the gateways of others; empty: nowhere
    gateway    TEXT    NOT NULL,
    region     TEXT    NOT NULL,
    inventory  TEXT    NOT NULL,
    reachable  BOOLEAN NOT NULL,
    seen_at    BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,
    -- what its live CVMs take; kept by every statement that writes such a CVM (store: cvms/tally.rs)
    slots      BIGINT  NOT NULL DEFAULT 0 CHECK (slots >= 0),
    vcpu       BIGINT  NOT NULL DEFAULT 0 CHECK (vcpu >= 0),
    memory_mb  BIGINT  NOT NULL DEFAULT 0 CHECK (memory_mb >= 0),
    disk_gb    BIGINT  NOT NULL DEFAULT 0 CHECK (disk_gb >= 0)
);

-- Whose root keys the keys of apps come from.
CREATE TABLE kms (
    slug       TEXT   NOT NULL PRIMARY KEY,
    id         TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

-- App-compose documents by their hash: hashed once, kept byte for byte.
CREATE TABLE documents (
    hash       TEXT   NOT NULL PRIMARY KEY,
    body       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    -- last provisioned; forgotten with the last provision that refers to it
    used_at    BIGINT NOT NULL,
    -- a CVM booted it once, or a queued change will: never forgotten
    kept       BOOLEAN NOT NULL DEFAULT FALSE
);

-- An app id belongs to one workspace and, until it is in use, to one name. That of a contract is bound to
-- the workspace that commits it first.
CREATE TABLE apps (
    app_id       TEXT   NOT NULL PRIMARY KEY,
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    nonce        BIGINT,
    name         TEXT   NOT NULL,
    kms_id       TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    -- last provisioned; one that was never committed is forgotten with its last provision
    used_at      BIGINT NOT NULL,
    committed_at BIGINT,
    -- how many live CVMs it has
    live         BIGINT NOT NULL DEFAULT 0 CHECK (live >= 0),
    -- when its instances take requests (JSON); goes before what compose files say
    readiness    TEXT
);
CREATE UNIQUE INDEX apps_nonce ON apps (workspace_id, nonce) WHERE nonce IS NOT NULL;
CREATE INDEX apps_listed ON apps (workspace_id, created_at, app_id) WHERE live > 0;
-- the public directory
CREATE INDEX apps_everywhere ON apps (created_at, app_id) WHERE live > 0;
CREATE INDEX apps_listed_by_kms ON apps (workspace_id, kms_id, created_at, app_id) WHERE live > 0;

-- Lengths of lists, so that a page costs the same however long its list is.
CREATE TABLE app_tallies (
    workspace_id BIGINT NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    apps         BIGINT NOT NULL CHECK (apps >= 0)
);
CREATE TABLE cvm_tallies (
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    node_id      BIGINT NOT NULL REFERENCES nodes (id),
    created_by   BIGINT NOT NULL REFERENCES users (id),
    cvms         BIGINT NOT NULL CHECK (cvms >= 0),
    PRIMARY KEY (workspace_id, node_id, created_by)
);

CREATE TABLE provisions (
    id           TEXT   NOT NULL PRIMARY KEY,
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    name         TEXT   NOT NULL,
    compose_hash TEXT   NOT NULL REFERENCES documents (hash),
    -- NULL until commit where a contract is to be the app
    app_id       TEXT   REFERENCES apps (app_id),
    kms_id       TEXT   NOT NULL,
    node_id      BIGINT NOT NULL REFERENCES nodes (id),
    spec         TEXT   NOT NULL,
    sealed_env   TEXT,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    cvm_id       BIGINT
);
CREATE INDEX provisions_of_document ON provisions (compose_hash, workspace_id, created_at, id);
CREATE INDEX provisions_of_app ON provisions (app_id, compose_hash, created_at, id);
CREATE INDEX provisions_open ON provisions (workspace_id, name, compose_hash, created_at, id)
    WHERE cvm_id IS NULL;
CREATE INDEX provisions_expiry ON provisions (expires_at);

CREATE TABLE cvms (
    id            BIGINT  NOT NULL PRIMARY KEY,
    reference     TEXT    NOT NULL UNIQUE,
    vm_uuid       TEXT    NOT NULL UNIQUE,
    workspace_id  BIGINT  NOT NULL REFERENCES workspaces (id),
    created_by    BIGINT  NOT NULL REFERENCES users (id),
    app_id        TEXT    NOT NULL REFERENCES apps (app_id),
    name          TEXT    NOT NULL,
    node_id       BIGINT  NOT NULL REFERENCES nodes (id),
    kms_id        TEXT    NOT NULL,
    compose_hash  TEXT    NOT NULL REFERENCES documents (hash),
    -- the wish
    generation    BIGINT  NOT NULL,
    power         TEXT    NOT NULL CHECK (power IN ('running', 'stopped', 'deleted')),
    run           BIGINT  NOT NULL,
    stop_mode     TEXT    NOT NULL,
    -- the fact
    phase         TEXT    NOT NULL,
    instance_id   TEXT,
    -- what placement and filters need of the spec
    vcpu          BIGINT  NOT NULL,
    memory_mb     BIGINT  NOT NULL,
    disk_gb       BIGINT  NOT NULL,
    image         TEXT    NOT NULL,
    instance_type TEXT,
    listed        BOOLEAN NOT NULL,
    -- who works on it; at rest `due_at` is NULL and costs nothing
    fence         BIGINT  NOT NULL,
    -- raised with everything that readers see of it
    version       BIGINT  NOT NULL,
    lease_owner   TEXT,
    lease_until   BIGINT,
    -- the fence that the claim raised: which lease it is
    lease_fence   BIGINT,
    -- its holder may have a call under way: a newer wish waits for the end of the lease
    calling       BOOLEAN NOT NULL DEFAULT FALSE,
    -- when the next turn may begin: for a leased one, the end of its lease
    due_at        BIGINT,
    -- asked for while leased: due again when the lease is given back
    again         BOOLEAN NOT NULL DEFAULT FALSE,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    deleted_at    BIGINT,
    -- when it is to be deleted by itself, and for whom
    delete_at     BIGINT,
    delete_by     BIGINT REFERENCES users (id),
    -- what may be long comes last: SQLite reads a row from its beginning
    status        TEXT    NOT NULL,
    -- without user_config, which stands beside it: lists read the one and not the other
    spec          TEXT    NOT NULL,
    user_config   TEXT,
    sealed_env    TEXT
);
CREATE UNIQUE INDEX cvms_name ON cvms (workspace_id, name) WHERE power <> 'deleted';
-- lists; `deleted_at`, though always NULL here, lets SQLite answer without the row
CREATE INDEX cvms_listed ON cvms (workspace_id, id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX cvms_listed_by_node ON cvms (workspace_id, node_id, id, app_id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX cvms_listed_by_user ON cvms (workspace_id, created_by, id, deleted_at) WHERE deleted_at IS NULL;
-- the filters of the list of apps
CREATE INDEX cvms_apps_by_phase ON cvms (workspace_id, phase, app_id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX cvms_apps_by_image ON cvms (workspace_id, image, app_id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX cvms_apps_by_type ON cvms (workspace_id, instance_type, app_id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX cvms_apps_by_listed ON cvms (workspace_id, listed, app_id, deleted_at) WHERE deleted_at IS NULL;
CREATE INDEX cvms_named ON cvms (workspace_id, name) WHERE deleted_at IS NULL;
CREATE INDEX cvms_on_node ON cvms (node_id, id) WHERE deleted_at IS NULL;
-- not partial: deleting an app id or a document looks for CVMs of any kind
CREATE INDEX cvms_of_app ON cvms (app_id, deleted_at, id);
CREATE INDEX cvms_public ON cvms (app_id, id) WHERE listed AND deleted_at IS NULL;
CREATE INDEX cvms_of_document ON cvms (compose_hash);
CREATE INDEX cvms_of_instance ON cvms (instance_id, id)
    WHERE instance_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX cvms_due ON cvms (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX cvms_to_delete ON cvms (delete_at, id) WHERE delete_at IS NOT NULL;

CREATE TABLE operations (
    id           TEXT   NOT NULL PRIMARY KEY,
    cvm_id       BIGINT NOT NULL REFERENCES cvms (id),
    kind         TEXT   NOT NULL,
    state        TEXT   NOT NULL CHECK (state IN
        ('pending', 'running', 'succeeded', 'failed', 'superseded', 'cancelled')),
    -- place among the operations of its CVM, in the order in which they were accepted
    seq          BIGINT NOT NULL,
    generation   BIGINT NOT NULL,
    created_by   BIGINT NOT NULL REFERENCES users (id),
    failure_code TEXT,
    failure      TEXT,
    created_at   BIGINT NOT NULL,
    started_at   BIGINT,
    ended_at     BIGINT,
    -- of a change of configuration: the one that carries it out, where several go in one
    joined_to    TEXT,
    -- with how many it may go in one; halved when such a batch failed
    batch        BIGINT NOT NULL DEFAULT 64,
    -- names of the fields it changes, and what it does to the names of variables (JSON)
    fields       TEXT,
    report       TEXT,
    -- the change itself and what was before, as JSON; both only until it is closed
    change       TEXT,
    before       TEXT
);
CREATE UNIQUE INDEX operations_one_running ON operations (cvm_id) WHERE state = 'running';
CREATE UNIQUE INDEX operations_of_cvm ON operations (cvm_id, seq);
CREATE INDEX operations_queued ON operations (cvm_id, seq) WHERE state = 'pending';
CREATE INDEX operations_joined ON operations (joined_to) WHERE joined_to IS NOT NULL;

-- Documents prepared for an update of a CVM and not yet in force.
CREATE TABLE prepared (
    cvm_id       BIGINT NOT NULL REFERENCES cvms (id),
    compose_hash TEXT   NOT NULL REFERENCES documents (hash),
    sealed_env   TEXT,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    PRIMARY KEY (cvm_id, compose_hash)
);
CREATE INDEX prepared_expiry ON prepared (expires_at);
CREATE INDEX prepared_of_document ON prepared (compose_hash);

-- What was prepared for contracts to allow and has not begun: a change of a CVM, or another machine
-- like it. Whoever holds the token may commit it; only its SHA-256 is kept.
CREATE TABLE commit_tokens (
    hash          TEXT   NOT NULL PRIMARY KEY,
    kind          TEXT   NOT NULL CHECK (kind IN ('update', 'replica', 'instance')),
    workspace_id  BIGINT NOT NULL REFERENCES workspaces (id),
    -- the CVM that changes, or the one whose configuration the new machine gets
    cvm_id        BIGINT NOT NULL REFERENCES cvms (id),
    -- place among those of its CVM and kind
    seq           BIGINT NOT NULL,
    -- the CVM's
    app_id        TEXT   NOT NULL,
    -- the document: exactly its bytes are booted
    compose_hash  TEXT   NOT NULL REFERENCES documents (hash),
    chain_id      BIGINT NOT NULL,
    -- of the configuration that it was prepared on: another one makes it void
    base          TEXT   NOT NULL,
    created_by    BIGINT NOT NULL REFERENCES users (id),
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    superseded_at BIGINT,
    used_at       BIGINT,
    -- what it became, for whoever commits it again
    operation_id  TEXT,
    made_cvm_id   BIGINT,
    -- what is to be done, with its sealed environment (JSON); only while it can be committed
    request       TEXT
);
CREATE UNIQUE INDEX commit_tokens_one_update ON commit_tokens (cvm_id)
    WHERE kind = 'update' AND superseded_at IS NULL AND used_at IS NULL;
CREATE UNIQUE INDEX commit_tokens_of_cvm ON commit_tokens (cvm_id, kind, seq);
CREATE INDEX commit_tokens_of_document ON commit_tokens (compose_hash);
CREATE INDEX commit_tokens_expiry ON commit_tokens (expires_at);

-- What was in force on a CVM, from one operation that succeeded to the next; kept when the CVM is
-- deleted. Who asked for it and how is with the operation.
CREATE TABLE revisions (
    id           TEXT   NOT NULL PRIMARY KEY,
    app_id       TEXT   NOT NULL REFERENCES apps (app_id),
    cvm_id       BIGINT NOT NULL REFERENCES cvms (id),
    -- place among the revisions of its CVM, from 1
    number       BIGINT NOT NULL,
    compose_hash TEXT   NOT NULL REFERENCES documents (hash),
    operation_id TEXT   NOT NULL REFERENCES operations (id),
    created_at   BIGINT NOT NULL,
    -- names of variables, ascending (JSON)
    env_keys     TEXT   NOT NULL,
    user_config  TEXT,
    sealed_env   TEXT
);
-- ends in the id, which lets both engines answer without the row
CREATE INDEX revisions_of_app ON revisions (app_id, created_at, cvm_id, number, id);
CREATE UNIQUE INDEX revisions_of_cvm ON revisions (cvm_id, number);
CREATE INDEX revisions_of_document ON revisions (compose_hash);

-- What contracts allowed, until the block at which they did is surely settled.
CREATE TABLE proofs (
    cvm_id       BIGINT NOT NULL REFERENCES cvms (id),
    compose_hash TEXT   NOT NULL,
    chain_id     BIGINT NOT NULL,
    block_number BIGINT NOT NULL,
    block_hash   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (cvm_id, compose_hash, block_hash)
);
CREATE INDEX proofs_age ON proofs (created_at);

CREATE TABLE events (
    seq          BIGINT NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    workspace_id BIGINT NOT NULL,
    cvm_id       BIGINT,
    operation_id TEXT,
    kind         TEXT   NOT NULL,
    body         TEXT   NOT NULL
);
CREATE INDEX events_of_cvm ON events (cvm_id, seq) WHERE cvm_id IS NOT NULL;
CREATE INDEX events_of_operation ON events (operation_id, seq) WHERE operation_id IS NOT NULL;
CREATE INDEX events_of_workspace ON events (workspace_id, seq);

-- The first answer to a request with an Idempotency-Key, written in that request's transaction.
CREATE TABLE idempotency (
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    key          TEXT   NOT NULL,
    fingerprint  TEXT   NOT NULL,
    status       BIGINT NOT NULL,
    body         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);
