-- CVMs that are to run on another node than `cvms.node_id`. Their room is taken on both until their VM is gone there.
CREATE TABLE moves (
    cvm_id  BIGINT NOT NULL PRIMARY KEY REFERENCES cvms (id),
    node_id BIGINT NOT NULL REFERENCES nodes (id)
);
CREATE INDEX moves_to_node ON moves (node_id, cvm_id);

-- VMs that CVMs left on hosts that did not answer. They are removed when the host is back.
CREATE TABLE left_vms (
    node_id     BIGINT NOT NULL REFERENCES nodes (id),
    cvm_id      BIGINT NOT NULL REFERENCES cvms (id),
    -- the mark of the VM
    name        TEXT   NOT NULL,
    vm_uuid     TEXT   NOT NULL,
    -- what clusters of dstack-gateway have to forget; NULL: nothing, or they have
    instance_id TEXT,
    left_at     BIGINT NOT NULL,
    -- a VM of a call that was under way shows up before
    settles_at  BIGINT NOT NULL,
    PRIMARY KEY (node_id, cvm_id)
);
