-- client_mark: begin to remove a machine client: it has no secret and no key any more, and nobody changes it. Works when
-- Redis is at maxmemory, since it deletes before it writes.
-- KEYS[1]  <prefix>client:{<client id>}    hash
-- RETURNS  second of the first mark        text | nil no such client
-- CLOCK    Redis TIME, seconds             COST  O(1), one key
-- CALLER   gateway/machines/clients.py: Clients.mark
if redis.call('HEXISTS', KEYS[1], 'version') == 0 then return nil end
local second = redis.call('HGET', KEYS[1], 'removed') or redis.call('TIME')[1]
redis.call('HDEL', KEYS[1], 'secret', 'previous_secret', 'keys')
-- A mark is written again, so that its confirmation can be waited for.
redis.call('HSET', KEYS[1], 'removed', second, 'version', 'removed')
return second
