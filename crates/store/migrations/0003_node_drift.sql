-- What nodes show and nobody wanted, as long as they show it. A row goes when the difference does.
CREATE TABLE node_drift (
    node_id BIGINT NOT NULL REFERENCES nodes (id),
    -- what it is about: state:<vm uuid>, config:<vm uuid>, vm:<id>, image:<name>, host:<device id>
    subject TEXT   NOT NULL,
    kind    TEXT   NOT NULL,
    cvm_id  BIGINT REFERENCES cvms (id),
    what    TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    PRIMARY KEY (node_id, subject, kind)
);
