-- What guests showed about themselves, by the SHA-256 of the quote; the newest few of each CVM.
CREATE TABLE evidence (
    checksum     TEXT   NOT NULL PRIMARY KEY,
    -- NULL: somebody uploaded it
    cvm_id       BIGINT REFERENCES cvms (id),
    -- the boot that showed it: VM, run, configuration and start
    boot         TEXT   NOT NULL,
    collected_at BIGINT NOT NULL,
    -- what the quote was asked to contain, hex; NULL: nothing
    nonce        TEXT,
    -- JSON
    evidence     TEXT   NOT NULL,
    -- what a verifier found, JSON; NULL: nothing was verified
    verdict      TEXT,
    verified_at  BIGINT,
    -- whether it is accepted; NULL: nothing was verified
    accepted     BOOLEAN
);
CREATE INDEX evidence_of_cvm ON evidence (cvm_id, collected_at);
CREATE INDEX evidence_by_age ON evidence (collected_at);

-- Instances of the app get its requests only while their evidence is accepted.
ALTER TABLE apps ADD COLUMN requires_evidence BOOLEAN NOT NULL DEFAULT FALSE;

-- Evidence that somebody asked for. A worker of the node answers.
CREATE TABLE evidence_requests (
    id           TEXT   NOT NULL PRIMARY KEY,
    cvm_id       BIGINT NOT NULL REFERENCES cvms (id),
    node_id      BIGINT NOT NULL REFERENCES nodes (id),
    -- 128 hex digits; NULL: any
    nonce        TEXT,
    requested_at BIGINT NOT NULL,
    answered_at  BIGINT,
    -- of the evidence; NULL: open, or there was none
    checksum     TEXT,
    -- why there is none
    message      TEXT
);
CREATE INDEX open_evidence_requests ON evidence_requests (requested_at) WHERE answered_at IS NULL;
CREATE INDEX evidence_requests_by_age ON evidence_requests (requested_at);
