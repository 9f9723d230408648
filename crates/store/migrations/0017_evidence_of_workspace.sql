-- Instances of every app of the workspace get requests for their app only while their evidence is accepted.
ALTER TABLE workspaces ADD COLUMN requires_evidence BOOLEAN NOT NULL DEFAULT FALSE;
