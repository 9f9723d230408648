-- Whom a login by device code counts for: an address, of IPv6 its /64; '': not known.
ALTER TABLE device_logins ADD COLUMN address TEXT NOT NULL DEFAULT '';
CREATE INDEX device_logins_of_address ON device_logins (address, expires_at);
