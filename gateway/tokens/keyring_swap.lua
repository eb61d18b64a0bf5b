-- keyring_swap: replace the sealed keyring if it and the names beside it are still what was read; or just read them.
-- KEYS[1]  <prefix>keyring                 string: JSON document with a number "version"
-- KEYS[2]  <prefix>{<prefix>keyring}:dropped string: sealed names of the keys that were dropped as compromised
-- ARGV[1]  version that may be replaced    0 when there is none; -1 to read
-- ARGV[2]  the new document
-- ARGV[3]  the new names                   "" when no key was ever dropped
-- ARGV[4]  the names that may be replaced  as they were read, "" when there are none
-- RETURNS  {1 when replaced else 0, the document now there or "", the names now there or "", now in seconds}
-- CLOCK    Redis TIME, seconds             COST  O(1), two keys, one slot
-- CALLER   gateway/tokens/keyring.py: Keyring
local document = redis.call('GET', KEYS[1])
local names = redis.call('GET', KEYS[2]) or ''
local now = tonumber(redis.call('TIME')[1])
if ARGV[1] ~= '-1' then
  local version = document and cjson.decode(document).version or 0
  if version == tonumber(ARGV[1]) and names == ARGV[4] then
    redis.call('SET', KEYS[1], ARGV[2])
    if ARGV[3] ~= '' then redis.call('SET', KEYS[2], ARGV[3]) end
    return {1, ARGV[2], ARGV[3], now}
  end
end
return {0, document or '', names, now}
