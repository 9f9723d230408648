-- Public keys of users.
CREATE TABLE ssh_keys (
    id             TEXT   NOT NULL PRIMARY KEY,
    user_id        BIGINT NOT NULL REFERENCES users (id),
    name           TEXT   NOT NULL,
    -- in OpenSSH's format
    public_key     TEXT   NOT NULL,
    -- SHA256:… in unpadded base64
    fingerprint    TEXT   NOT NULL,
    key_type       TEXT   NOT NULL,
    -- bits of an RSA key
    bits           BIGINT,
    -- 'manual' or 'github'
    source         TEXT   NOT NULL CHECK (source IN ('manual', 'github')),
    -- the account there that it was read from
    github_username TEXT,
    last_synced_at BIGINT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX ssh_keys_of_user ON ssh_keys (user_id, fingerprint);
