-- Whom a login by device code counts for: an address, of IPv6 its /64; '': not known.
ALTER TABLE device_logins ADD COLUMN address TEXT NOT NULL DEFAULT '';
CREATE INDEX device_logins_of_address ON device_logins (address, expires_at);

-- When the owner of the contract of an app proved last that it is this workspace's.
ALTER TABLE apps ADD COLUMN proven_at BIGINT;
-- Since when it is this workspace's, where it was another one's before; older revisions are not its.
ALTER TABLE apps ADD COLUMN transferred_at BIGINT;
