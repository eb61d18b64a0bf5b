-- client_change: change fields of a machine client, if it is the version that the caller saw.
-- KEYS[1]  <prefix>client:{<client id>}    hash
-- ARGV[1]  expected version                text
-- ARGV[2]  version after the change        text, another one for each change
-- ARGV[3+] field, value, ...
-- RETURNS  "changed", now or by our own command that was sent before | "conflict" another version | "unknown"
-- CLOCK    none                            COST  O(fields), one key
-- CALLER   gateway/machines/clients.py: Clients._apply
local version = redis.call('HGET', KEYS[1], 'version')
if not version then return 'unknown' end
if version == ARGV[2] then return 'changed' end
if version ~= ARGV[1] then return 'conflict' end
redis.call('HSET', KEYS[1], 'version', ARGV[2], unpack(ARGV, 3))
return 'changed'
