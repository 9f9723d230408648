-- Who did what. Append-only: triggers refuse to change or delete a row (store: db/append_only.rs).
CREATE TABLE audit_log (
    -- a version 7 UUID: sorts by time
    id           TEXT    NOT NULL PRIMARY KEY,
    at           BIGINT  NOT NULL,
    -- of the key that was used; NULL: the installation, or nobody's
    workspace_id BIGINT,
    actor        TEXT    NOT NULL CHECK (actor IN ('user', 'host', 'none')),
    user_id      BIGINT,
    -- as it was then
    username     TEXT    NOT NULL,
    key_id       BIGINT,
    address      TEXT,
    request_id   TEXT,
    -- id of the operation in the description of the API, or a command of the host
    action       TEXT    NOT NULL,
    target_kind  TEXT    NOT NULL,
    target_id    TEXT,
    -- JSON, without secrets
    state_before TEXT,
    state_after  TEXT,
    -- of HTTP; 0: a command of the host
    status       BIGINT  NOT NULL,
    error_code   TEXT,
    -- answered as before under the same Idempotency-Key
    replayed     BOOLEAN NOT NULL
);
CREATE INDEX audit_of_workspace ON audit_log (workspace_id, id);
