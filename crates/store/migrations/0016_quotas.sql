-- What the live CVMs of a workspace take together, kept by every statement that writes such a CVM
-- (store: cvms/usage_counters.rs), beside what it may take; NULL: as configured for all.
CREATE TABLE workspace_usage (
    workspace_id  BIGINT NOT NULL PRIMARY KEY REFERENCES workspaces (id),
    cvms          BIGINT NOT NULL DEFAULT 0 CHECK (cvms >= 0),
    vcpu          BIGINT NOT NULL DEFAULT 0 CHECK (vcpu >= 0),
    memory_mb     BIGINT NOT NULL DEFAULT 0 CHECK (memory_mb >= 0),
    disk_gb       BIGINT NOT NULL DEFAULT 0 CHECK (disk_gb >= 0),
    max_cvms      BIGINT CHECK (max_cvms >= 0),
    max_vcpu      BIGINT CHECK (max_vcpu >= 0),
    max_memory_mb BIGINT CHECK (max_memory_mb >= 0),
    max_disk_gb   BIGINT CHECK (max_disk_gb >= 0)
);
INSERT INTO workspace_usage (workspace_id, cvms, vcpu, memory_mb, disk_gb)
    SELECT w.id, COUNT(c.id), COALESCE(SUM(c.vcpu), 0), COALESCE(SUM(c.memory_mb), 0), COALESCE(SUM(c.disk_gb), 0)
    FROM workspaces w LEFT JOIN cvms c ON c.workspace_id = w.id AND c.deleted_at IS NULL
    GROUP BY w.id;
