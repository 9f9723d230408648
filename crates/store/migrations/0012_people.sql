-- Several people, and service accounts, in several workspaces, with keys that can do less than their users.
ALTER TABLE users ADD COLUMN kind TEXT NOT NULL DEFAULT 'person' CHECK (kind IN ('person', 'service'));
-- operates the installation: nodes, gateways, users
ALTER TABLE users ADD COLUMN operator BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE users ADD COLUMN disabled_at BIGINT;
-- So far every key could do everything.
UPDATE users SET operator = TRUE;

CREATE TABLE members (
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    user_id      BIGINT NOT NULL REFERENCES users (id),
    role         TEXT   NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, user_id)
);
CREATE INDEX members_of_user ON members (user_id, workspace_id);
INSERT INTO members (workspace_id, user_id, role, created_at)
    SELECT workspace_id, user_id, 'owner', CAST(MIN(created_at) AS BIGINT) FROM api_keys GROUP BY workspace_id, user_id;

ALTER TABLE api_keys ADD COLUMN id BIGINT NOT NULL DEFAULT 0;
-- the first characters of the token, for people to tell keys apart
ALTER TABLE api_keys ADD COLUMN prefix TEXT NOT NULL DEFAULT '';
-- words of core::access, separated by spaces; *: all
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '*';
-- to the minute, written some time later
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
UPDATE api_keys SET id = (SELECT COUNT(*) FROM api_keys other WHERE other.hash <= api_keys.hash);
INSERT INTO counters (name, value) SELECT 'api_key', COUNT(*) FROM api_keys;
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);
CREATE INDEX api_keys_listed ON api_keys (workspace_id, user_id, id);

-- An invitation; its token is kept as SHA-256 only.
CREATE TABLE invitations (
    id           BIGINT NOT NULL PRIMARY KEY,
    workspace_id BIGINT NOT NULL REFERENCES workspaces (id),
    hash         TEXT   NOT NULL UNIQUE,
    -- NULL: a link that anybody who has it may use until it expires
    email        TEXT,
    role         TEXT   NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    created_by   BIGINT NOT NULL REFERENCES users (id),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    accepted_by  BIGINT REFERENCES users (id),
    revoked_at   BIGINT
);
CREATE INDEX invitations_listed ON invitations (workspace_id, id);
INSERT INTO counters (name, value) VALUES ('invitation', 0);

-- Logins by device code (RFC 8628) under way. Both codes are kept as SHA-256 only.
CREATE TABLE device_logins (
    device_hash  TEXT   NOT NULL PRIMARY KEY,
    user_hash    TEXT   NOT NULL UNIQUE,
    client       TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    polled_at    BIGINT,
    -- set when it is approved
    user_id      BIGINT REFERENCES users (id),
    workspace_id BIGINT REFERENCES workspaces (id),
    scopes       TEXT,
    denied       BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX device_logins_expired ON device_logins (expires_at);

CREATE TABLE profiles (
    -- 'user' or 'workspace', and its id
    kind         TEXT   NOT NULL CHECK (kind IN ('user', 'workspace')),
    id           BIGINT NOT NULL,
    display_name TEXT,
    description  TEXT,
    PRIMARY KEY (kind, id)
);
