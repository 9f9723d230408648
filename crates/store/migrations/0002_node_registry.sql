-- What an operator decided about a node.
ALTER TABLE nodes ADD COLUMN state TEXT NOT NULL DEFAULT 'active'
    CHECK (state IN ('active', 'cordoned', 'removed'));
-- Its files are in the owner's data directory: no other instance can serve it.
ALTER TABLE nodes ADD COLUMN pinned BOOLEAN NOT NULL DEFAULT TRUE;
-- How it is reached and what it may take, as JSON; NULL: as the owner's configuration says.
ALTER TABLE nodes ADD COLUMN settings TEXT;

-- The reconcilers ask per node who is due: a node that hangs delays nobody else.
CREATE INDEX cvms_due_on_node ON cvms (node_id, due_at, id) WHERE due_at IS NOT NULL;
DROP INDEX cvms_due;
