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
