-- token_revoke: delete a personal token whose revocation has been announced. Works when Redis is at maxmemory.
-- INCLUDES machines/token_record
-- KEYS[1]  <prefix>tokens:{<user id>}      hash: token id -> packed record
-- ARGV[1]  token id                        pat_ and 22 characters
-- RETURNS  number of tokens deleted
-- CLOCK    none                            COST  O(tokens of the user), one key
-- CALLER   gateway/machines/personal_tokens.py: PersonalTokens.revoke
local deleted = redis.call('HDEL', KEYS[1], ARGV[1])
if deleted > 0 then expire_tokens(KEYS[1]) end
return deleted
