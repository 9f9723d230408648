-- The last answer to a KMS about each CVM; its reconciler reads it when the guest does not boot.
CREATE TABLE key_decisions (
    cvm_id  BIGINT NOT NULL PRIMARY KEY REFERENCES cvms (id),
    at      BIGINT NOT NULL,
    -- why there were no keys; NULL: there were
    code    TEXT,
    message TEXT
);

-- Answers about no known CVM, by what was asked about and why: they are counted, because anybody whose
-- guest reaches the KMS can cause them.
CREATE TABLE key_decision_totals (
    -- 'app' or 'kms'
    subject  TEXT   NOT NULL,
    -- 'allowed', or why not
    code     TEXT   NOT NULL,
    total    BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    -- the last one, as JSON
    last     TEXT   NOT NULL,
    PRIMARY KEY (subject, code)
);
