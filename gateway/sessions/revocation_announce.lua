-- revocation_announce: tell every gateway that sessions have ended. Works when Redis is at maxmemory, since it
-- trims before it adds.
-- KEYS[1]  <prefix>revocations             stream
-- ARGV[1]  retention                       milliseconds; the longest life of an access token and a little more
-- ARGV[2+] revocations: sids, and cut-offs "<user id> <second> <sid that is kept, or nothing>", known by their blanks
-- RETURNS  id of the last entry
-- CLOCK    Redis TIME, milliseconds        COST  O(revocations + entries trimmed), one key
-- CALLER   gateway/sessions/revocations.py: Revocations.announce
local time = redis.call('TIME')
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', time[1] * 1000 - tonumber(ARGV[1])))
local id
for i = 2, #ARGV do
  id = redis.call('XADD', KEYS[1], '*', string.find(ARGV[i], ' ') and 'sub' or 'sid', ARGV[i])
end
return id
