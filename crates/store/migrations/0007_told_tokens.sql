-- Whether a client was told the token of what was prepared. Something that is prepared without telling does not
-- supersede what somebody holds the token of. Of what was prepared earlier it is not known: it counts as told.
ALTER TABLE commit_tokens ADD COLUMN told BOOLEAN NOT NULL DEFAULT TRUE;

DROP INDEX commit_tokens_one_update;
CREATE UNIQUE INDEX commit_tokens_one_update ON commit_tokens (cvm_id, told)
    WHERE kind = 'update' AND superseded_at IS NULL AND used_at IS NULL;
