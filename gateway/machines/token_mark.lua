-- token_mark: mark a personal token as revoked, from when on it is never good again. Works when Redis is at maxmemory.
-- INCLUDES machines/token_record
-- KEYS[1]  <prefix>tokens:{<user id>}      hash: token id -> packed record
-- ARGV[1]  token id                        pat_ and 22 characters
-- RETURNS  1 it is there, marked before or now | 0 there is none
-- CLOCK    Redis TIME, milliseconds        COST  O(1), one key
-- CALLER   gateway/machines/personal_tokens.py: PersonalTokens.mark
write_at_maxmemory(KEYS[1])
local now = now_milliseconds()
local token = find_token(KEYS[1], ARGV[1], now)
if not token then return 0 end
-- A mark is written again, so that its confirmation can be waited for.
token.marked, token.used = true, now
redis.call('HSET', KEYS[1], ARGV[1], pack_token(token))
if redis.call('PTTL', KEYS[1]) < mark_milliseconds then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', token_end(token)))
end
return 1
